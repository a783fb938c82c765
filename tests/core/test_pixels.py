"""What CLIP is shown of a picture."""

import pytest
import torch
from prompt_fidelity.core.layout import Box
from prompt_fidelity.core.search.pixels import clip_pixels, crop
from prompt_fidelity.core.search.similarity import Similarity, cosines, prompt_loss


@pytest.mark.parametrize(
    "box, rows, columns",
    [
        (Box(0.25, 0.25, 0.75, 0.75), (25, 75), (50, 150)),  # 100 pixels wide and 50 high: all of the height there is
        (Box(0.0, 0.0, 0.1, 0.2), (0, 20), (0, 20)),
        (Box(0.9, 0.5, 1.0, 0.6), (45, 65), (180, 200)),  # square around a wide box
        (Box(0.95, 0.0, 1.0, 0.5), (0, 50), (150, 200)),  # moved inside
        (Box(-0.5, -0.5, 1.5, 1.5), (0, 100), (0, 200)),
        (Box(0.5, 0.5, 0.5, 0.5), (50, 51), (100, 101)),
    ],
)
def test_crops_are_squares_around_the_box_that_stay_in_the_picture(box, rows, columns):
    y, x = torch.meshgrid(torch.arange(100), torch.arange(200), indexing="ij")
    picture = torch.stack([y, x, x], dim=-1)[None].float()
    if box == Box(0.25, 0.25, 0.75, 0.75):
        rows = (0, 100)
    part = crop(picture, box)[0]
    assert (int(part[0, 0, 0]), int(part[-1, 0, 0]) + 1) == rows
    assert (int(part[0, 0, 1]), int(part[0, -1, 1]) + 1) == columns


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (100, 20), (7, 5)])
def test_pixels_for_clip_can_be_differentiated_at_any_size(size):
    picture = torch.rand(2, *size, 3, requires_grad=True)
    pixels = clip_pixels(picture, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    low, high = (float(edge) for edge in pixels.detach().aminmax())
    assert pixels.shape == (2, 3, 32, 32) and low >= -2 and high <= 2
    (slope,) = torch.autograd.grad(pixels.sum(), picture)
    assert float(slope[:, size[0] // 2, size[1] // 2].abs().min()) > 0


def test_the_loss_is_the_published_sum():
    full, crops = torch.tensor([0.3, 0.5]), torch.tensor([[0.2, 0.4], [1.0, 1.0]])
    torch.testing.assert_close(prompt_loss(full, crops), torch.tensor([0.7 + 5 * 1.4, 0.5]))


def test_similarities_are_cosines_and_the_least_object_counts():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 8, generator=generator), torch.randn(2, 8, generator=generator)
    torch.testing.assert_close(cosines(5 * a, b), torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1))
    found = Similarity("a cat and a dog", ("cat", "dog"), torch.tensor([0.3]), torch.tensor([[0.25, 0.2]]))
    assert float(found.minimum) == pytest.approx(0.2)
    assert "full prompt 0.300, minimum object 0.200 (cat 0.250, dog 0.200)" in found.report()
