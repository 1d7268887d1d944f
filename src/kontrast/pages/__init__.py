"""What people see in a browser or on paper: figures, tables and pages, made from artifacts' files alone.

What belongs here: drawing and laying out what was computed and saved. What does not: computing anything that a reader
would quote; a page can be made again years later without the images, the weights or the machine.
"""
