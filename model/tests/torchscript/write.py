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


# Left in training mode, as it is easily forgotten.
torch.jit.script(Colours()).save("scripted.pt")
torch.jit.trace(Colours().eval(), torch.zeros(1, 3, 8, 8)).save("traced.pt")
torch.jit.script(Company().eval()).save("company.pt")
torch.jit.script(Faulty().eval()).save("faulty.pt")
torch.jit.script(Pair().eval()).save("pair.pt")
torch.save(Colours().state_dict(), "checkpoint.pt")
