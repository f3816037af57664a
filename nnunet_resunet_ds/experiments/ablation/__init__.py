"""Train and compare the steps from a plain U-Net to the paper's method, and the systems it is compared with."""
