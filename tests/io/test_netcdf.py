"""DataTrees in files: the same tree comes back, or one error that names the file; a full disk costs nothing."""

import errno
import gc
import os
import subprocess
import sys

import arviz as az
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data

from bayesgmm.exceptions import InputError
from bayesgmm.io import netcdf
from bayesgmm.io.netcdf import load_tree, save_tree


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2))


@pytest.fixture(scope="module")
def saved(tree, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "fit.nc"
    save_tree(tree, path)
    return path.read_bytes()


def refused(content: bytes, folder) -> str:
    """The one line that a file with this content ends in."""
    path = folder / "wrong.nc"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"got {path}: ") as caught:
        load_tree(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- there and back


def test_a_file_gives_the_same_tree_back(tree, tmp_path):
    tree = tree.copy()
    tree.attrs = {**tree.attrs, "seed": 2**31, "time": 0.1 + 0.2, "prior": '{"form": "é"}', "long": "x" * 100_000}
    save_tree(tree, tmp_path / "fit.nc")
    back = load_tree(tmp_path / "fit.nc")
    assert back.attrs == tree.attrs
    assert set(back.children) == set(tree.children)
    for name, group in tree.children.items():
        xr.testing.assert_identical(back[name].to_dataset(), group.to_dataset())
        for variable, values in group.data_vars.items():
            assert back[name][variable].dtype == values.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["fit.nc"]


def test_a_tree_that_was_read_is_written_anew(tree, tmp_path):
    save_tree(tree, tmp_path / "one.nc")
    first = load_tree(tmp_path / "one.nc")
    first["posterior"] = xr.DataTree(first["posterior"].to_dataset().isel(draw=slice(3)))
    save_tree(first, tmp_path / "two.nc")
    assert load_tree(tmp_path / "two.nc").identical(first)


def test_arviz_opens_the_file_and_what_it_writes_is_read(tree, tmp_path):
    save_tree(tree, tmp_path / "fit.nc")
    with az.from_netcdf(tmp_path / "fit.nc") as opened:
        np.testing.assert_array_equal(opened["posterior"]["means"].values, tree["posterior"]["means"].values)
        opened.load().to_netcdf(tmp_path / "anew.nc")
    assert load_tree(tmp_path / "anew.nc").identical(load_tree(tmp_path / "fit.nc"))


def test_the_loaded_tree_does_not_hold_the_file(tree, tmp_path):
    path = tmp_path / "fit.nc"
    save_tree(tree, path)
    back = load_tree(path)
    path.unlink()
    assert np.isfinite(back["posterior"]["weights"].values).all()


def test_every_array_of_numbers_has_the_checksum_of_hdf5(tree, tmp_path):
    save_tree(tree, tmp_path / "fit.nc")
    checked = []
    with h5py.File(tmp_path / "fit.nc") as file:
        file.visititems(
            lambda name, item: (
                checked.append(item.fletcher32)
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and item.ndim
                else None
            )
        )
    assert len(checked) > 10
    assert all(checked)


def test_large_arrays_are_cut_into_few_chunks(monkeypatch):
    assert netcdf._chunks((4, 1000, 3), 8) == (4, 1000, 3)
    monkeypatch.setattr(netcdf, "_CHUNK", 8 * 1000)
    assert netcdf._chunks((4, 1000, 3), 8) == (4, 84, 3)


# ---- writing


def test_an_existing_file_is_refused_and_replaced_only_when_asked(tree, tmp_path):
    path = tmp_path / "fit.nc"
    path.write_text("old")
    with pytest.raises(InputError, match="overwrite=True"):
        save_tree(tree, path)
    assert path.read_text() == "old"
    save_tree(tree, path, overwrite=True)
    assert "posterior" in load_tree(path).children


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tree, tmp_path, monkeypatch):
    path = tmp_path / "fit.nc"
    path.write_text("old")

    def full_disk(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_tree(tree, path, overwrite=True)
    gc.collect()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["fit.nc"]


def test_a_quota_costs_neither_the_process_nor_the_old_file(tmp_path):
    """HDF5 that writes to a disk that is full ends the process later, when its file is collected."""
    code = f"""if True:
        import gc, resource, numpy as np, xarray as xr
        from bayesgmm.io.netcdf import load_tree, save_tree
        def ones(n):
            return xr.DataTree.from_dict({{"posterior": xr.Dataset({{"means": (("chain", "draw"), np.ones((4, n)))}})}})
        tree, small = ones(50_000), ones(5)
        save_tree(small, {str(tmp_path / "fit.nc")!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
        try:
            save_tree(tree, {str(tmp_path / "fit.nc")!r}, overwrite=True)
        except OSError as error:
            print(error.strerror)
        gc.collect()
        print(load_tree({str(tmp_path / "fit.nc")!r}).identical(small), float(tree["posterior"]["means"].sum()))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{os.strerror(errno.EFBIG)}\nTrue 200000.0\n"
    assert [path.name for path in tmp_path.iterdir()] == ["fit.nc"]


def test_a_missing_folder(tree, tmp_path):
    with pytest.raises(InputError, match="an existing folder"):
        save_tree(tree, tmp_path / "nowhere" / "fit.nc")


# ---- reading what is damaged, or of another make


def test_any_byte_that_is_another_is_noticed(saved, tmp_path):
    for place in [*range(0, len(saved), 1_499), 3_000, *range(len(saved) - 81, len(saved), 9)]:
        content = bytearray(saved)
        content[place] ^= 0xFF
        assert "damaged" in refused(content, tmp_path) or place < 9


def test_a_file_that_was_cut_is_read_only_if_nothing_of_the_tree_is_missing(saved, tree, tmp_path):
    for size in (100, 3_000, len(saved) // 2, len(saved) - 82, len(saved) - 1):
        assert "damaged, for it has" in refused(saved[:size], tmp_path)
    (tmp_path / "unsealed.nc").write_bytes(saved[:-81])
    assert load_tree(tmp_path / "unsealed.nc").identical(tree)


@pytest.mark.parametrize("content", [b"", b"\x89HDF", b"not a NetCDF file" * 100], ids=["empty", "stub", "text"])
def test_what_is_no_netcdf_file(content, tmp_path):
    assert "no NetCDF 4 file" in refused(content, tmp_path)


def test_an_end_of_zeros_and_an_end_too_many_are_noticed(saved, tmp_path):
    assert "damaged" in refused(saved[:-4096] + bytes(4096), tmp_path)
    assert "damaged" in refused(saved + b"\n", tmp_path)


def test_a_later_version_says_so(tree, tmp_path):
    later = tree.copy()
    later.attrs = {**tree.attrs, "bayesgmm_format": netcdf.FORMAT + 1}
    later.to_netcdf(tmp_path / "later.nc", engine="h5netcdf")
    assert "it has format 2 of a later version of bayesgmm" in refused((tmp_path / "later.nc").read_bytes(), tmp_path)


@pytest.mark.parametrize(
    ("name", "options"), [("means", {"chunks": (1000,)}), ("draw", {}), ("lp", {"compression": 9})]
)
def test_an_array_larger_than_the_file_takes_no_memory(tree, tmp_path, name, options):
    path = tmp_path / "huge.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    with h5py.File(path, "a") as file:
        group = file["posterior"]
        group.pop(name, None)
        group.create_dataset(name, shape=(10**12,), dtype="f8", **options)
    assert f"posterior/{name} has shape (1000000000000,), but 0 bytes" in refused(path.read_bytes(), tmp_path)


def test_files_that_are_not_there(tmp_path):
    for name in ("missing.nc", ".", "x" * 300, "a\0b"):
        with pytest.raises(InputError, match="no file at"):
            load_tree(tmp_path / name)
