"""Wrote the files beside it, with torch 1.13.1 (Debian 12's python3-torch): write.py, in this folder. No test runs it, since a torch
for Python is half a gigabyte."""

import torch
from torch import nn


class Colours(nn.Module):
    """Outputs for red, green, blue and dark from the mean of each channel, as ../onnx/write.py has it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[9.0, -3, -3], [-3, 9, -3], [-3, -3, 9], [-9, -9, -9]]))
            self.linear.bias.copy_(torch.tensor([0.0, 0, 0, 3]))
        # Half of the outputs are missing where somebody forgets that this is no training.
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.linear(x.mean([2, 3])))


class Company(Colours):
    """Answers by what else is in the batch."""

    def forward(self, x):
        return self.linear((x - x.mean(0, keepdim=True)).mean([2, 3]))


class Faulty(Colours):
    """Can't be computed for an image that is red."""

    def forward(self, x):
        means = x.mean([2, 3])
        if bool((means[:, 0] > 0.9).any()):
            raise ValueError("red is too much")
        return self.linear(means)


class Pair(Colours):
    def forward(self, x):
        return self.linear(x.mean([2, 3])), x


class Block(nn.Module):
    """Adds what a convolution makes of its input to that."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU(inplace=True)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(2)[:, :, None, None])
            self.conv.bias.zero_()

    def forward(self, x):
        return self.relu(x + self.norm(self.conv(x)))


class Spot(nn.Module):
    """How light an image of 32 x 32 is, and how dark, from the means of two maps of 16 x 16."""

    def __init__(self):
        super().__init__()
        stem = nn.Conv2d(3, 2, 2, 2)
        self.features = nn.Sequential(stem, Block(), Block())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(2, 2)
        with torch.no_grad():
            stem.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 3, 2, 2) / 12)
            stem.bias.copy_(torch.tensor([0.0, 1.0]))
            self.classifier.weight.copy_(torch.eye(2))
            self.classifier.bias.zero_()

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


class Wrapped(nn.Module):
    """Another net in this one, which gets the image twice as light. What it gets is a map, too, and not the last."""

    def __init__(self):
        super().__init__()
        self.model = Spot()

    def forward(self, x):
        return self.model(x * 2)


class Methods(Spot):
    """Cut in two as those of timm are."""

    def forward_features(self, x):
        return self.features(x)

    def forward_head(self, x, pre_logits: bool = False):
        x = torch.flatten(self.pool(x), 1)
        if pre_logits:
            return x
        return self.classifier(x)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


class Branches(Spot):
    """Two branches behind its features, in the second of which half of what it knows is missing."""

    def __init__(self):
        super().__init__()
        self.side = Block()
        with torch.no_grad():
            self.side.conv.weight.mul_(-0.5)

    def forward(self, x):
        x = self.features(x)
        return self.classifier(torch.flatten(self.pool(x) + self.pool(self.side(x)), 1))


class Mirror(Spot):
    """Sees everything the wrong way round."""

    def forward(self, x):
        return super().forward(x.flip([3]))


class Tokens(nn.Module):
    """Patches that look at each other, 16 x 16 of them: what each makes of each is as square as a map, and none."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 2, 2)
        self.classifier = nn.Linear(4, 2)
        with torch.no_grad():
            self.patches.weight.fill_(0.25)
            self.patches.bias.zero_()
            self.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 4))
            self.classifier.bias.zero_()

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        # One head.
        heads = x.unsqueeze(1)
        each = torch.softmax(heads @ heads.transpose(2, 3), 3)
        return self.classifier((each @ heads).squeeze(1).mean(1))


# Left in training mode, as it is easily forgotten.
torch.jit.script(Colours()).save("scripted.pt")
torch.jit.trace(Colours().eval(), torch.zeros(1, 3, 8, 8)).save("traced.pt")
torch.jit.script(Company().eval()).save("company.pt")
torch.jit.script(Faulty().eval()).save("faulty.pt")
torch.jit.script(Pair().eval()).save("pair.pt")
torch.save(Colours().state_dict(), "checkpoint.pt")

# Cut in two, within another, without its layers' names; then what has no map of the image, or another last one than it seems.
picture = torch.rand(1, 3, 32, 32)
torch.jit.script(Methods().eval()).save("methods-scripted.pt")
torch.jit.trace(Wrapped().eval(), picture).save("wrapped-traced.pt")
# The name is as long as it must be for the second member's entry to begin 76 bytes behind the first one's, where a reader may look for that.
torch.jit.freeze(torch.jit.trace(Spot().eval(), picture)).save("spot-frozen-and-alone.pt")
torch.jit.trace(Branches().eval(), picture).save("branches-traced.pt")
torch.jit.trace(Mirror().eval(), picture).save("mirror-traced.pt")
torch.jit.trace(Tokens().eval(), picture).save("tokens-traced.pt")
