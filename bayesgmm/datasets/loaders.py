"""Loaders of the data sets in the package; for sources and licences see LICENSES.md beside this file."""

from importlib.resources import files

import pandas as pd

_LABELS = {
    "thyroid": ["Diagnosis"],
    "diabetes_corrected": ["class"],
    "banknote": ["Status"],
    "creditcard": ["card", "owner", "selfemp"],
    "speech_mfcc": ["speaker", "language", "sex"],
}


def _load(name: str) -> pd.DataFrame:
    """Read one file of ``data/``; its label columns become categorical."""
    with (files(__package__) / "data" / f"{name}.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table.astype(dict.fromkeys(_LABELS.get(name, []), "category"))


def load_old_faithful() -> pd.DataFrame:
    """Eruptions of the Old Faithful geyser in Yellowstone.

    Returns
    -------
    pandas.DataFrame, shape (272, 2)
        ``eruptions``, the duration of an eruption (min), and ``waiting``, the time to the next one (min).
        Waiting times are whole minutes, so that many rows share a value.

    Notes
    -----
    Source: R's ``datasets::faithful``; Azzalini & Bowman (1990), A look at some data on the Old Faithful
    geyser, Applied Statistics 39, 357-365. Licence: GPL-2 or GPL-3 (R).

    Examples
    --------
    >>> from bayesgmm.datasets import load_old_faithful
    >>> load_old_faithful().head(2)
       eruptions  waiting
    0        3.6       79
    1        1.8       54
    """
    return _load("faithful")


def load_galaxies() -> pd.DataFrame:
    """Velocities of 82 galaxies in six well-separated conic sections of the Corona Borealis region.

    Returns
    -------
    pandas.DataFrame, shape (82, 1)
        ``velocity_kms``, the velocity (km/s). Published fits divide it by 1000.

    Notes
    -----
    Source: R's ``MASS::galaxies``; Roeder (1990), Density estimation with confidence sets exemplified by
    superclusters and voids in the galaxies, Journal of the American Statistical Association 85, 617-624.
    The 78th value is 26960, as in Richardson & Green (1997); MASS ships 26690, which its own help page
    calls a typing error. Licence: GPL-2 or GPL-3.

    Examples
    --------
    >>> from bayesgmm.datasets import load_galaxies
    >>> int(load_galaxies()["velocity_kms"][77])
    26960
    """
    return _load("galaxies")


def load_acidity() -> pd.DataFrame:
    """Acidity of 155 lakes in north-central Wisconsin.

    Returns
    -------
    pandas.DataFrame, shape (155, 1)
        ``log_anc``, the natural logarithm of the acid neutralising capacity plus 50.

    Notes
    -----
    Source: R's ``mclust::acidity``; Crawford, DeGroot, Kadane & Small (1992), Modeling lake-chemistry
    distributions, Technometrics 34, 441-453. Licence: GPL, version 2 or later.

    Examples
    --------
    >>> from bayesgmm.datasets import load_acidity
    >>> load_acidity().shape
    (155, 1)
    """
    return _load("acidity")


def load_thyroid() -> pd.DataFrame:
    """Five laboratory tests of 215 patients whose thyroid was normal, overactive or underactive.

    Returns
    -------
    pandas.DataFrame, shape (215, 6)
        ``Diagnosis`` (categorical: Hyper, Hypo, Normal) and five measurements: ``RT3U``, T3-resin uptake (%);
        ``T4``, total serum thyroxine; ``T3``, total serum triiodothyronine; ``TSH``, basal
        thyroid-stimulating hormone; ``DTSH``, the largest change of TSH after an injection of
        thyrotropin-releasing hormone. The source gives no units for the last four.

    Notes
    -----
    Source: R's ``mclust::thyroid``, from UCI's "new-thyroid"; Coomans, Broeckaert, Jonckheer & Massart
    (1983), Methods of Information in Medicine 22, 93-101. Licence: GPL, version 2 or later; UCI's terms.

    Examples
    --------
    >>> from bayesgmm.datasets import load_thyroid
    >>> thyroid = load_thyroid()
    >>> thyroid["Diagnosis"].value_counts().to_dict()
    {'Normal': 150, 'Hyper': 35, 'Hypo': 30}
    >>> thyroid.drop(columns="Diagnosis").shape
    (215, 5)
    """
    return _load("thyroid")


def load_diabetes() -> pd.DataFrame:
    """Blood chemistry of 145 adults without obesity: normal, chemical and overt diabetes.

    Returns
    -------
    pandas.DataFrame, shape (145, 4)
        ``class`` (categorical: Chemical, Normal, Overt) and three measurements: ``fpg``, fasting plasma
        glucose; ``glucose``, area under the plasma glucose curve of a three-hour test; ``insulin``, area
        under the plasma insulin curve. The source gives no units.

    Notes
    -----
    This is the corrected version. The table that mclust 6.0.0 ships names the columns wrongly (glucose,
    insulin, sspg) and has 45 for 455 in row 104, as its help page says. mclust corrected both from 6.1 on.
    Most published mclust figures (BIC -4751.316) use the flawed table, later ones (BIC -4734.561) this one.

    Source: R's ``mclust::diabetes``; Reaven & Miller (1979), An attempt to define the nature of chemical
    diabetes using a multidimensional analysis, Diabetologia 16, 17-24. Licence: GPL, version 2 or later.

    Examples
    --------
    >>> from bayesgmm.datasets import load_diabetes
    >>> diabetes = load_diabetes()
    >>> int(diabetes["glucose"][103])
    455
    >>> diabetes.drop(columns="class").shape
    (145, 3)
    """
    return _load("diabetes_corrected")


def load_banknote() -> pd.DataFrame:
    """Six lengths measured on 100 genuine and 100 counterfeit Swiss 1000-franc notes.

    Returns
    -------
    pandas.DataFrame, shape (200, 7)
        ``Status`` (categorical: counterfeit, genuine) and six lengths (mm): ``Length`` of the note, its
        ``Left`` and ``Right`` edges, the ``Bottom`` and ``Top`` margins, the ``Diagonal`` of the image.

    Notes
    -----
    Source: R's ``mclust::banknote``; Flury & Riedwyl (1988), Multivariate Statistics: A Practical Approach,
    Chapman & Hall. Licence: GPL, version 2 or later.

    Examples
    --------
    >>> from bayesgmm.datasets import load_banknote
    >>> load_banknote().drop(columns="Status").shape
    (200, 6)
    """
    return _load("banknote")


def load_credit_card() -> pd.DataFrame:
    """Applicants for a credit card, and what those who got it spent.

    Returns
    -------
    pandas.DataFrame, shape (1319, 12)
        A row for every applicant. ``card`` (categorical: no, yes; whether the application was accepted), ``reports``
        (major derogatory reports), ``age`` (years; seven values below one are typing errors of the source), ``income``
        (10,000 US dollars a year), ``share`` (monthly credit card expenditure over yearly income), ``expenditure``
        (average monthly credit card expenditure, US dollars), ``owner`` of the home and ``selfemp``, self-employed
        (categorical: no, yes), ``dependents``, ``months`` at the current address, ``majorcards`` held, ``active``
        credit accounts. Those who were refused have spent nothing.

    Notes
    -----
    Source: R's ``AER::CreditCard``; Greene (2003), Econometric Analysis, 5th edition, Prentice Hall. Licence: GPL-2 or
    GPL-3 (R package AER).

    Examples
    --------
    >>> from bayesgmm.datasets import load_credit_card
    >>> customers = load_credit_card()
    >>> customers["card"].value_counts().to_dict()
    {'yes': 1023, 'no': 296}
    >>> float(customers.loc[customers["card"] == "no", "expenditure"].max())
    0.0
    """
    return _load("creditcard")


def load_speech() -> pd.DataFrame:
    """Four people speaking numbers in five languages, as short-time spectra.

    Returns
    -------
    pandas.DataFrame, shape (4611, 17)
        A row for every 20 ms of speech. ``speaker`` (categorical: allison, carlo, ivrvoiceru, june), ``language``
        (categorical: en, es, fr, it, ru; allison speaks en and es), ``sex`` (categorical: f, m), ``number_spoken``,
        ``time_ms`` within the recording of that number (silence is left out), and ``mfcc1`` to ``mfcc12``,
        mel-frequency cepstral coefficients of a window of 25 ms at 8 kHz, without unit.

    Notes
    -----
    Source: numbers among the voice prompts in Debian's packages ``asterisk-core-sounds-{en,es,fr,it,ru}-wav``, recorded
    by Allison Smith (en, es), June Wallack (fr) and Carlo Flora (it), and provided by Maxim Topal (ru); the
    coefficients were computed for this package. Licence: CC BY-SA 3.0; the Russian recordings CC BY 3.0.

    Examples
    --------
    >>> from bayesgmm.datasets import load_speech
    >>> speech = load_speech()
    >>> speech.filter(like="mfcc").shape
    (4611, 12)
    >>> speech.groupby("speaker", observed=True)["language"].nunique().to_dict()
    {'allison': 2, 'carlo': 1, 'ivrvoiceru': 1, 'june': 1}
    """
    return _load("speech_mfcc")


def load_gvhd() -> pd.DataFrame:
    """Blood cells of two patients by flow cytometry, one with and one without graft-versus-host disease.

    Returns
    -------
    pandas.DataFrame, shape (15892, 5)
        A row for every cell. ``sample`` (categorical: control, positive) and the fluorescence of four markers,
        ``CD4``, ``CD8b``, ``CD3`` and ``CD8``, in channel values, which are whole numbers.

    Notes
    -----
    Source: R's ``mclust::GvHD``; Brinkman, Gasparetto, Lee, Ribickas, Perkins, Janssen, Smiley & Smith (2007),
    High-content flow cytometry and temporal data analysis for defining a cellular signature of graft-versus-host
    disease, Biology of Blood and Marrow Transplantation 13, 691-700. Licence: GPL, version 2 or later.

    Examples
    --------
    >>> from bayesgmm.datasets import load_gvhd
    >>> load_gvhd()["sample"].value_counts().to_dict()
    {'positive': 9083, 'control': 6809}
    """
    samples = {name: _load(f"gvhd_{name}") for name in ("control", "positive")}
    table = pd.concat(samples, names=["sample"]).reset_index(level="sample").reset_index(drop=True)
    return table.astype({"sample": "category"})
