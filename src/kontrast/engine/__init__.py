"""The only training loop, and what runs a network over a Pack: batches, optimisers, schedules, precision, checkpoints.

What belongs here knows steps, devices, files and time. It knows no method by name and no command; a method
gives its loss, the engine does the rest.
"""
