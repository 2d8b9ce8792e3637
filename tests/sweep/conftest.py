from pathlib import Path

import pytest

from bandmate.checkpoint import Bundle, load_bundle
from tests.sweep import small


@pytest.fixture(scope="package")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.rendered(tmp_path_factory.mktemp("rendered"))


@pytest.fixture(scope="package")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="package")
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(str(bundle_path))


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    return small.store(tmp_path_factory.mktemp("store"), bundle.model)
