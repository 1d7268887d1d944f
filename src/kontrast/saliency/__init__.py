"""Where in an image a classifier found what it says.

    gradcam     Grad-CAM for every encoder, Grad-CAM++ for CNNs
    rollout     attention rollout for Vision Transformers
    maps        the kinds by name, and which encoder has which
    overlay     a map over its image, as a picture

What belongs here: from a network and images to maps, from maps to pictures. What does not: how good a map is
(`metrics.localisation`), files (`stages`).
"""
