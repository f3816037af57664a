"""Hold what all other packages share. It imports nothing of ours from outside this folder."""
