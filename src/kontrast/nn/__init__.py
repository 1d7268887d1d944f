"""Networks and their parts: encoders, heads, and what methods build on (momentum copies, queues, Sinkhorn).

What belongs here is an `nn.Module` or a function on tensors that knows no data, no files but weights, no training
loop and no method. Encoders carry the parameter names of torchvision (ResNet, DenseNet) and timm (ViT), so that
public weights load by key and ours load there.
"""
