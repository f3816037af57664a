"""The paper's ablation: its factors one after the other and each alone, and the systems it compares with."""
