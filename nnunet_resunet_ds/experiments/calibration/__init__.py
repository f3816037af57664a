"""How well the Dice to expect tells spoilt cases from good ones."""
