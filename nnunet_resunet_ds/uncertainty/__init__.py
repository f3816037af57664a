"""How sure a prediction is: maps of a case, numbers of its regions, and the Dice to expect."""
