"""Forward passes written straight from the papers, on a state_dict alone: they share no code with the encoders."""

import torch
import torch.nn.functional as F


def stir(encoder):
    """Give every statistic and scale a value of its own, so that none can be left out unseen."""
    g = torch.Generator().manual_seed(3)
    for name, value in encoder.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=g))
        elif name.endswith(("running_mean", "bias", "cls_token")):
            value.copy_(0.1 * torch.randn(value.shape, generator=g))
        elif value.dim() == 1:
            value.copy_(0.5 + 0.5 * torch.rand(value.shape, generator=g))
    return encoder.eval()


def bn(x, s, name):
    mean, var, w, b = (s[f"{name}.{k}"].reshape(1, -1, 1, 1) for k in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / torch.sqrt(var + 1e-5) * w + b


def resnet(s, x, depths, *, bottleneck, small):
    x = F.conv2d(x, s["conv1.weight"], stride=1 if small else 2, padding=1 if small else 3)
    x = bn(x, s, "bn1").clamp(min=0)
    if not small:
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for i in range(depth):
            p = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            if bottleneck:
                y = bn(F.conv2d(x, s[f"{p}.conv1.weight"]), s, f"{p}.bn1").clamp(min=0)
                y = bn(F.conv2d(y, s[f"{p}.conv2.weight"], stride=stride, padding=1), s, f"{p}.bn2").clamp(min=0)
                y = bn(F.conv2d(y, s[f"{p}.conv3.weight"]), s, f"{p}.bn3")
            else:
                y = bn(F.conv2d(x, s[f"{p}.conv1.weight"], stride=stride, padding=1), s, f"{p}.bn1").clamp(min=0)
                y = bn(F.conv2d(y, s[f"{p}.conv2.weight"], padding=1), s, f"{p}.bn2")
            if f"{p}.downsample.0.weight" in s:
                x = bn(F.conv2d(x, s[f"{p}.downsample.0.weight"], stride=stride), s, f"{p}.downsample.1")
            x = (x + y).clamp(min=0)
    return x.flatten(2).mean(2)


def densenet(s, x, depths, *, small):
    f = "features"
    x = F.conv2d(x, s[f"{f}.conv0.weight"], stride=1 if small else 2, padding=1 if small else 3)
    x = bn(x, s, f"{f}.norm0").clamp(min=0)
    if not small:
        x = F.max_pool2d(x, 3, 2, 1)
    for block, depth in enumerate(depths, 1):
        collected = [x]
        for i in range(1, depth + 1):
            p = f"{f}.denseblock{block}.denselayer{i}"
            y = F.conv2d(bn(torch.cat(collected, 1), s, f"{p}.norm1").clamp(min=0), s[f"{p}.conv1.weight"])
            collected.append(F.conv2d(bn(y, s, f"{p}.norm2").clamp(min=0), s[f"{p}.conv2.weight"], padding=1))
        x = torch.cat(collected, 1)
        if block < len(depths):
            p = f"{f}.transition{block}"
            x = F.avg_pool2d(F.conv2d(bn(x, s, f"{p}.norm").clamp(min=0), s[f"{p}.conv.weight"]), 2)
    return bn(x, s, f"{f}.norm5").clamp(min=0).flatten(2).mean(2)


def layer_norm(x, s, name):
    x = x - x.mean(-1, keepdim=True)
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * s[f"{name}.weight"] + s[f"{name}.bias"]


def linear(x, s, name):
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def vit(s, x, *, heads, patch, depth=12):
    B = len(x)
    tiles = F.unfold(x, patch, stride=patch).transpose(1, 2)  # (B, N, p²)
    x = tiles @ s["patch_embed.proj.weight"].flatten(1).T + s["patch_embed.proj.bias"]
    x = torch.cat([s["cls_token"].repeat(B, 1, 1), x], 1) + s["pos_embed"]
    for i in range(depth):
        p = f"blocks.{i}"
        q, k, v = linear(layer_norm(x, s, f"{p}.norm1"), s, f"{p}.attn.qkv").chunk(3, -1)
        d = q.shape[-1] // heads
        out = []
        for h in range(heads):
            at = slice(h * d, (h + 1) * d)
            out.append((q[..., at] @ k[..., at].transpose(1, 2) / d**0.5).softmax(-1) @ v[..., at])
        x = x + linear(torch.cat(out, -1), s, f"{p}.attn.proj")
        y = linear(layer_norm(x, s, f"{p}.norm2"), s, f"{p}.mlp.fc1")
        y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
        x = x + linear(y, s, f"{p}.mlp.fc2")
    return layer_norm(x, s, "norm")[:, 1:].mean(1)
