"""Join what several models, or tools of any kind, say of the same cases."""
