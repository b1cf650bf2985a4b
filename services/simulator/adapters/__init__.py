"""The simulator's hands: the renderer, its processes, the journal and the files on disk."""
