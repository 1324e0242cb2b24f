"""The style: distinct colours for everybody, labels that can be read, found by matplotlib under its name."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bayesgmm import style

# Machado, Oliveira & Fernandes (2009), IEEE TVCG 15:1291-1298: dichromats' vision of linear RGB.
VISIONS = {
    "trichromat": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Ottosson (2020), Oklab: distances are those that are seen; 100 from black to white.
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
FROM_CONES = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def seen(colour: str, vision: str) -> np.ndarray:
    """Oklab coordinates, in hundredths."""
    rgb = np.clip(np.array(VISIONS[vision]) @ linear(colour), 0.0, 1.0)
    return 100 * np.array(FROM_CONES) @ np.cbrt(np.array(TO_CONES) @ rgb)


def distance(one: str, other: str) -> float:
    """The smallest, of all kinds of vision."""
    return min(float(np.linalg.norm(seen(one, vision) - seen(other, vision))) for vision in VISIONS)


def contrast(colour: str) -> float:
    """With white, as defined in the Web Content Accessibility Guidelines."""
    return 1.05 / (float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05)


def closest(colours) -> float:
    return min(distance(one, other) for one, other in combinations(colours, 2))


def test_colours_of_clusters_are_distinct_for_everybody_the_first_ones_most() -> None:
    assert closest(style.CLUSTERS[:3]) > 25
    assert closest(style.CLUSTERS[:6]) > 8
    assert closest(style.CLUSTERS) > 6  # the smallest difference that is noticed at a glance is about 2


def test_em_and_the_posterior_are_not_taken_for_each_other_or_for_a_cluster() -> None:
    assert distance(style.EM, style.POSTERIOR) > 15
    for colour in (style.EM, style.POSTERIOR):
        assert min(distance(colour, cluster) for cluster in style.CLUSTERS) > 9.5
        assert contrast(colour) > 7
    assert contrast(style.INK) > 7


def test_the_measure_of_distances_finds_colours_that_some_confuse() -> None:
    red, green = "#c00000", "#4d7000"
    assert np.linalg.norm(seen(red, "trichromat") - seen(green, "trichromat")) > 20
    assert distance(red, green) < 10
    assert distance("black", "white") == pytest.approx(100.0, abs=0.1)


def test_the_sheet_is_found_by_its_name_and_has_our_colours() -> None:
    with mpl.style.context("bayesgmm.style"):
        settings = dict(mpl.rcParams)
    assert settings["axes.prop_cycle"].by_key()["color"] == list(style.CLUSTERS)
    assert mpl.colors.to_hex(settings["text.color"]) == style.INK
    sizes = ("xtick.labelsize", "ytick.labelsize", "axes.labelsize", "axes.titlesize", "legend.fontsize", "font.size")
    assert min(settings[name] for name in sizes) >= 8
    assert settings["figure.figsize"][0] <= 7.4


def test_a_context_ends_and_the_style_overrides_dark_backgrounds() -> None:
    with mpl.style.context("dark_background"):
        with style.context():
            assert mpl.rcParams["figure.facecolor"] == "white"
            assert mpl.colors.to_hex(mpl.rcParams["axes.labelcolor"]) == style.INK
        assert mpl.rcParams["figure.facecolor"] == "black"


def test_a_notebooks_backend_that_starts_at_the_first_figure_goes_on_showing_figures() -> None:
    before = mpl.is_interactive()
    try:
        mpl.interactive(False)
        with style.context():
            mpl.interactive(True)  # as matplotlib_inline does when it is loaded
        assert mpl.is_interactive()
    finally:
        mpl.interactive(before)
