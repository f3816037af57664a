"""What all rooms share. It imports nothing of ours from outside this folder."""
