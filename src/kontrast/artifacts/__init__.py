"""The nouns on disk: each an artifact with a card, opened without executing code.

What belongs here: reading and writing of artifacts. What does not: how they are made (`stages`), or shown (`pages`).
"""
