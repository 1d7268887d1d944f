"""Random views of images, made on the batch and on the device.

A random operation is two functions: one draws its parameters per sample from an explicit generator, on the CPU, so that
a seed means the same on every machine; one applies them, batched and deterministic, where the images are.

    params      a View (the ranges), ViewParams (what was drawn from it), `draw` and `apply` for whole views
    geometry    crop, flip and resize as two matrix products; rotation
    intensity   brightness, contrast, gamma, blur, solarize, erase
    cpu         all of these once more, for images in a CPU's memory: sparse matrices and OpenCV; tested equal
    recipes     the views that each method learns from, for X-rays and as the papers have them; `make_views`

What belongs here: grey images in, views in [0, 1] out. What does not: files, normalisation by mean and standard
deviation (the engine's), losses.
"""
