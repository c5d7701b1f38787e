"""Scores that an earlier report has made already: one file per case, so that adding a model scores only that one.

A score is reused if it was made from the same files (size and time of change) under the same choices. A damaged file
only costs scoring the case again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunetv2_textguided.errors import DataError
from nnunetv2_textguided.evaluation.predictions import Files
from nnunetv2_textguided.evaluation.score import CaseScores, ScoreJob, as_json, from_json
from nnunetv2_textguided.files import read_json, write_json

_FORMAT = 3


class ScoreCache:
    """Scores by case in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, job: ScoreJob) -> CaseScores:
        """What is known already of this job's models."""
        known = self._entries(job)
        found: CaseScores = {}
        for name, files in job.predictions.items():
            entry = known.get(name)
            if entry is not None and entry.get("files") == _stamps(files):
                try:
                    found[name] = from_json(entry["scores"])
                except (KeyError, TypeError, ValueError):
                    continue  # written by another version: score it again
        return found

    def write(self, job: ScoreJob, scores: CaseScores) -> None:
        """Add scores to what is known of a case."""
        entries = self._entries(job)
        for name, score in scores.items():
            entries[name] = {"files": _stamps(job.predictions[name]), "scores": as_json(score)}
        write_json(self._path(job), {"made_with": _made_with(job), "models": entries})

    def _path(self, job: ScoreJob) -> Path:
        return self.folder / f"{job.case}.json"

    def _entries(self, job: ScoreJob) -> dict[str, Any]:
        path = self._path(job)
        if not path.is_file():
            return {}
        try:
            content = read_json(path, error=DataError)
        except DataError:
            return {}
        if not isinstance(content, dict) or content.get("made_with") != _made_with(job):
            return {}
        entries = content.get("models")
        return entries if isinstance(entries, dict) else {}


def _made_with(job: ScoreJob) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "label": _stamp(job.label),
        "targets": [[t.name, sorted(t.values), t.channel, t.regions] for t in job.targets],
        "ignored": job.targets[0].ignored,
        "scoring": job.scoring.fingerprint,
    }


def _stamps(files: Files) -> list[list[int] | None]:
    return [None if path is None else _stamp(path) for path in (files.probabilities, files.image)]


def _stamp(path: Path) -> list[int] | None:
    if not path.is_file():
        return None
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
