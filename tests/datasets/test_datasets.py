"""Data sets: the values that the sources give, in a shape that is ready to fit."""

from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from bayesgmm import datasets

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "data"
# loader: files, rows, numeric columns, sizes of the labelled groups
FACTS: dict[str, tuple[list[str], int, int, dict[str, dict[str, int]]]] = {
    "load_old_faithful": (["faithful"], 272, 2, {}),
    "load_galaxies": (["galaxies"], 82, 1, {}),
    "load_acidity": (["acidity"], 155, 1, {}),
    "load_thyroid": (["thyroid"], 215, 5, {"Diagnosis": {"Hyper": 35, "Hypo": 30, "Normal": 150}}),
    "load_diabetes": (["diabetes_corrected"], 145, 3, {"class": {"Chemical": 36, "Normal": 76, "Overt": 33}}),
    "load_banknote": (["banknote"], 200, 6, {"Status": {"counterfeit": 100, "genuine": 100}}),
    "load_credit_card": (
        ["creditcard"],
        1319,
        9,
        {"card": {"no": 296, "yes": 1023}, "owner": {"no": 738, "yes": 581}, "selfemp": {"no": 1228, "yes": 91}},
    ),
    "load_gvhd": (["gvhd_control", "gvhd_positive"], 15892, 4, {"sample": {"control": 6809, "positive": 9083}}),
    "load_speech": (
        ["speech_mfcc"],
        4611,
        14,
        {
            "speaker": {"allison": 2289, "carlo": 801, "ivrvoiceru": 760, "june": 761},
            "language": {"en": 862, "es": 1427, "fr": 761, "it": 801, "ru": 760},
            "sex": {"f": 3810, "m": 801},
        },
    ),
}


def test_every_loader_is_tested() -> None:
    assert sorted(FACTS) == datasets.__all__


@pytest.mark.parametrize("loader", FACTS)
def test_shape_labels_and_completeness(loader: str) -> None:
    _, rows, n_features, groups = FACTS[loader]
    table = getattr(datasets, loader)()
    labels = table.select_dtypes("category")
    assert table.select_dtypes("number").shape == (rows, n_features)
    assert table.shape[1] == n_features + labels.shape[1]
    assert not table.isna().to_numpy().any()
    assert {column: labels[column].value_counts().to_dict() for column in labels} == groups


@pytest.mark.parametrize("loader", FACTS)
def test_values_are_the_reference_values(loader: str) -> None:
    if not REFERENCE.is_dir():
        pytest.skip("the folder with reference data is not beside this repository")
    expected = pd.concat([pd.read_csv(REFERENCE / f"{name}.csv") for name in FACTS[loader][0]], ignore_index=True)
    table = getattr(datasets, loader)().drop(columns="sample", errors="ignore")  # gvhd: which file a row is from
    assert list(table.columns) == list(expected.columns)
    assert (table.astype(object) == expected.astype(object)).to_numpy().all()


@pytest.mark.parametrize(
    ("loader", "column", "mean"),
    [
        ("load_old_faithful", "waiting", 70.897059),  # R: mean(faithful$waiting)
        ("load_old_faithful", "eruptions", 3.487783),
        ("load_galaxies", "velocity_kms", 20831.463415),  # 270 km/s more in the 78th row than MASS's
        ("load_banknote", "Diagonal", 140.4835),
    ],
)
def test_published_means(loader: str, column: str, mean: float) -> None:
    assert getattr(datasets, loader)()[column].mean() == pytest.approx(mean, rel=1e-7)


def test_known_corrections() -> None:
    assert datasets.load_galaxies()["velocity_kms"][77] == 26960
    diabetes = datasets.load_diabetes()
    assert list(diabetes.columns) == ["class", "fpg", "glucose", "insulin"]
    assert diabetes["glucose"][103] == 455


def test_each_call_returns_a_table_of_its_own() -> None:
    changed = datasets.load_acidity()
    changed.loc[0, "log_anc"] = -1.0
    assert datasets.load_acidity()["log_anc"][0] == 2.928524


def test_every_file_is_listed_with_its_licence() -> None:
    folder = files("bayesgmm.datasets")
    listed = (folder / "LICENSES.md").read_text(encoding="utf-8")
    shipped = sorted(file.name for file in (folder / "data").iterdir())
    assert shipped == sorted(f"{name}.csv" for names, *_ in FACTS.values() for name in names)
    for name in shipped:
        rows = [line for line in listed.splitlines() if f"`data/{name}`" in line]
        assert len(rows) == 1
        assert "GPL" in rows[0] or "CC BY-SA 3.0" in rows[0]
