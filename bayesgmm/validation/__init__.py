"""Input validation: checked rows, weights and parameters, or an `InputError` before any work."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.validation.columns import chosen_names as chosen_names
    from bayesgmm.validation.columns import named_column as named_column
    from bayesgmm.validation.parameters import LARGEST_COUNT as LARGEST_COUNT
    from bayesgmm.validation.parameters import as_covariance as as_covariance
    from bayesgmm.validation.parameters import as_positive as as_positive
    from bayesgmm.validation.parameters import check_components as check_components
    from bayesgmm.validation.parameters import check_flag as check_flag
    from bayesgmm.validation.parameters import check_jobs as check_jobs
    from bayesgmm.validation.parameters import check_number as check_number
    from bayesgmm.validation.parameters import check_option as check_option
    from bayesgmm.validation.parameters import check_type as check_type
    from bayesgmm.validation.parameters import check_whole as check_whole
    from bayesgmm.validation.parameters import copies_of_rows as copies_of_rows
    from bayesgmm.validation.parameters import generator_of as generator_of
    from bayesgmm.validation.parameters import texts as texts
    from bayesgmm.validation.parameters import told as told
    from bayesgmm.validation.rows import LARGEST as LARGEST
    from bayesgmm.validation.rows import are_moderate as are_moderate
    from bayesgmm.validation.rows import as_finite as as_finite
    from bayesgmm.validation.rows import as_numbers as as_numbers
    from bayesgmm.validation.rows import as_row_weights as as_row_weights
    from bayesgmm.validation.rows import as_rows as as_rows
    from bayesgmm.validation.rows import as_sample_weight as as_sample_weight
    from bayesgmm.validation.rows import default_names as default_names
    from bayesgmm.validation.rows import in_the_form_of as in_the_form_of
    from bayesgmm.validation.rows import is_dask as is_dask
    from bayesgmm.validation.rows import is_elsewhere as is_elsewhere
    from bayesgmm.validation.rows import is_plain as is_plain
    from bayesgmm.validation.rows import is_zarr as is_zarr
    from bayesgmm.validation.rows import read_table as read_table

__getattr__, __dir__, __all__ = lazy(__name__)
