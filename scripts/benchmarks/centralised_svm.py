"""The strongest simple model on pooled messages: TF-IDF of words and characters, and a linear SVM.

    python scripts/benchmarks/centralised_svm.py --data a.tsv --data b.tsv --held-out-data test.tsv

What federated training is held against: it sees all messages in one place. Needs scikit-learn, from
requirements-dev.txt. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    roc_auc_score,
)
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from shared.cli import run
from worker_node.data.shard import Message, read_messages


def metrics_of(rows: list[Message], held_out: list[Message]) -> dict[str, float]:
    """ROC AUC, average precision, F1 and MCC on the held-out rows, after fitting on the others."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char", ngram_range=(2, 5), sublinear_tf=True)
    model = make_pipeline(make_union(words, characters), LinearSVC(random_state=0))
    model.fit([message.text for message in rows], [message.label for message in rows])
    scores = model.decision_function([message.text for message in held_out])
    labels = [message.label for message in held_out]
    return {
        "roc_auc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "f1": float(f1_score(labels, scores > 0)),
        "mcc": float(matthews_corrcoef(labels, scores > 0)),
    }


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--data", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--held-out-data", multiple=True, required=True, type=click.Path(path_type=Path))
def main(data: tuple[Path, ...], held_out_data: tuple[Path, ...]) -> None:
    rows = [message for path in data for message in read_messages(path).messages]
    held_out = [message for path in held_out_data for message in read_messages(path).messages]
    click.echo(json.dumps({"rows": len(rows), **metrics_of(rows, held_out)}))


if __name__ == "__main__":
    run(main, "python scripts/benchmarks/centralised_svm.py")
