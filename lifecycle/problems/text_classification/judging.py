"""What the gate asks about classifiers of texts: as of any, also by the length of texts, and how they behave."""

from lifecycle.problems.classification.judging import JUDGING as ANY_CLASSIFIER
from lifecycle.problems.classification.judging import inapplicable_to_texts

JUDGING = ANY_CLASSIFIER._replace(
    slices={**ANY_CLASSIFIER.slices, "text_length": lambda _, rows: rows["text"].str.len()},
    usual_slices=("label", "text_length"),
    inapplicable=inapplicable_to_texts,
)
