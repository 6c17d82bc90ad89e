"""Usual names of columns in public data sets, and what they say of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elman.data.evidence import split_words, words_of

UNNAMED = "unnamed"  # name of a column or key that has an empty one
# Names of labels. Names in an earlier list win; if two names from one list occur,
# the user has to choose. Names of the last list also occur as inputs, so the content has to agree.
TARGET_NAMES = (
    *("label", "labels", "class", "target", "y", "category", "intent", "tag", "tags"),
    *("klasse", "ziel", "zielwert", "etikett"),
)
WEAKER_TARGET_NAMES = ("language", "sentiment", "activity", "outcome", "diagnosis", "aktivität")
LEAST_TARGET_NAMES = (
    *("state", "status", "zustand", "result", "ergebnis", "condition", "species", "diagnose"),
    *("emotion", "gesture", "anomaly", "fault", "failure", "rating", "stars", "genre", "topic"),
    *("fraud", "churn", "response", "died", "death", "dead", "deceased", "mortality", "survived"),
    *("survival", "readmitted", "readmission", "default", "defaulted", "success", "event"),
    *("grade", "quality", "stage", "sleep_stage", "phase", "severity", "remission", "relapse"),
    *("attack", "is_fraud", "isfraud", "is_attack", "in_hospital_death", "hospital_expire_flag"),
)
TEXT_NAMES = ("text", "sentence", "utterance", "message", "review", "tweet", "sequence", "name")
TOKEN_NAMES = ("token", "tokens", "word", "words", "symbol", "char", "character", "text")
USUAL_NAMES = frozenset(
    (*TARGET_NAMES, *WEAKER_TARGET_NAMES, *LEAST_TARGET_NAMES, *TEXT_NAMES, *TOKEN_NAMES)
)
# What columns with one value per sequence hold.
PEOPLE = words_of(
    "subject subjects subj sub patient person participant proband volunteer user speaker "
    "author owner driver rider athlete player student child infant respondent annotator rater "
    "operator animal mouse rat monkey dog cat bird fish individual donor customer client "
    "member actor singer writer writers signer worker employee family pid sid uid vp proband "
    "probandin patientin nutzer teilnehmer fahrer sprecher person who name wer"
)
PROPERTIES = words_of(
    "age sex gender height weight bmi race ethnicity smoker smoking handedness hand dominant "
    "limb education income marital blood alter geschlecht groesse größe gewicht los icutype "
    "diabetes hypertension comorbidity comorbidities treatment drug dose dosage arm diet "
    "species breed strain brand model make type kind category region country city language "
    "capacity power material size length width depth area volume diameter latitude longitude "
    "altitude elevation position placement side location bodypart"
)
LABELS = words_of(
    "label labels class classes target outcome diagnosis score grade result severity stage "
    "mortality died death dead deceased survived survival readmitted readmission remission relapse "
    "fraud churn failure fault default success prediction predicted klasse ergebnis"
)
# Properties of persons, which are labels only if somebody says so.
PERSONAL = words_of(
    "sex gender geschlecht race ethnicity country nationality smoker smoking handedness marital "
    "education religion insurance blood"
)


def guess_target_names(names: Sequence[str], plausible: Callable[[str], bool]) -> list[str]:
    """Return the names that usually denote a label; y with x and z is a coordinate.

    Args:
        plausible: whether the content of a column may be labels; asked for less usual names only.
    """
    small = {"_".join(split_words(name)) for name in names}
    for usual in (TARGET_NAMES, WEAKER_TARGET_NAMES, LEAST_TARGET_NAMES):
        found = [name for name in names if is_named(name, usual)]
        # x, y, z are the axes of an accelerometer; x and y with another label are a position.
        if "x" in small and ("z" in small or len(found) > 1):
            found = [name for name in found if "_".join(split_words(name)) != "y"]
        if usual is LEAST_TARGET_NAMES:
            found = [name for name in found if plausible(name)]
        if found:
            return found
    return []


def is_named(name: str, usual: Sequence[str]) -> bool:
    """Whether a name is one of the usual ones, apart from capitals, spaces and a unit."""
    return name.lower() in usual or "_".join(split_words(name)) in usual
