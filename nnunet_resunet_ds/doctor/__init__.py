"""What is installed, found, fast and wrong on this machine, and how to mend it (``resunet-ds doctor``)."""
