"""The delay pattern and its inverse."""

import torch

from bandmate.model.tokens import from_columns, to_columns


def test_column_s_holds_level_l_of_frame_s_minus_l() -> None:
    codes = torch.arange(2 * 4 * 9).view(2, 4, 9)
    columns = to_columns(codes, pad=-7)
    assert columns.shape == (2, 4, 12)
    for column in range(12):
        for level in range(4):
            frame = column - level
            wanted = codes[:, level, frame] if 0 <= frame < 9 else torch.tensor([-7, -7])
            assert torch.equal(columns[:, level, column], wanted)


def test_columns_and_back() -> None:
    codes = torch.randint(0, 50, (3, 4, 17), generator=torch.Generator().manual_seed(0))
    assert torch.equal(from_columns(to_columns(codes, pad=50)), codes)
    assert torch.equal(to_columns(codes, 50, 17), to_columns(codes, 50)[:, :, :17])
