"""The tutorial in pictures of the documentation, made from what a demo has left."""
