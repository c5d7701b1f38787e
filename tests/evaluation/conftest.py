"""Tests of the evaluation need what it is compared with."""

from __future__ import annotations

import pytest

pytest.importorskip("picai_eval", reason="needs the extra picai")
