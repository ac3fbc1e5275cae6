"""Options of log drivers refused where and as Docker refuses them; what they add to a line with details."""

from __future__ import annotations

import pytest

from agent import log_attributes, log_settings
from agent.records import Config, HostConfig, Record, State
from cluster.model.errors import Internal, InvalidArgument

PREFIX = "failed to initialize logging driver: "


def _host(driver: str, *options: str) -> HostConfig:
    return HostConfig(log_driver=driver, log_options=tuple((name, value) for name, _, value in (text.partition("=") for text in options)))


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("local", ["nosuch=1"], "unknown log opt 'nosuch' for log driver local"),
        ("local", ["labels=a"], "unknown log opt 'labels' for log driver local"),
        ("json-file", ["nosuch=1"], "unknown log opt 'nosuch' for json-file log driver"),
        ("json-file", ["mode=nonsense"], "logger: logging mode not supported: nonsense"),
        ("json-file", ["max-buffer-size=1m"], "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
        ("json-file", ["mode=non-blocking", "max-buffer-size=x"], "error parsing option max-buffer-size: invalid size: 'x'"),
    ],
)
def test_refused_when_the_container_is_made(driver: str, options: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        log_settings.check(_host(driver, *options))
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("driver", "options", "text"),
    [
        ("json-file", ["compress=true"], "compress cannot be true when max-file is less than 2 or max-size is not set"),
        ("json-file", ["compress=true", "max-file=3"], "compress cannot be true when max-file is less than 2 or max-size is not set"),
        ("json-file", ["compress=true", "max-file=1", "max-size=10k"], "compress cannot be true when max-file is less than 2 or max-size is not set"),
        ("json-file", ["compress=nonsense"], 'strconv.ParseBool: parsing "nonsense": invalid syntax'),
        ("json-file", ["max-file=0"], "max-file cannot be less than 1"),
        ("local", ["compress=nonsense"], 'error reading compress log option: strconv.ParseBool: parsing "nonsense": invalid syntax'),
        ("local", ["max-file=1"], "compression cannot be enabled when max file count is 1"),
        ("json-file", ["max-file=-1"], "max-file cannot be less than 1"),
        ("json-file", ["max-file"], 'strconv.Atoi: parsing "": invalid syntax'),
        ("local", ["max-file=x"], 'invalid value for max-file: x: strconv.Atoi: parsing "x": invalid syntax'),
    ],
)
def test_refused_when_it_starts(driver: str, options: list[str], text: str) -> None:
    with pytest.raises(Internal) as caught:
        log_settings.max_files(_host(driver, *options))
    assert caught.value.message == PREFIX + text


@pytest.mark.parametrize(
    ("driver", "options", "files"),
    [("local", [], 5), ("local", ["compress=false", "max-file=1"], 1), ("json-file", [], 5), ("json-file", ["max-size=1m"], 1),
     ("json-file", ["max-size=1m", "max-file=2", "compress=true"], 2)],
)  # fmt: skip
def test_how_many_files_there_may_be(driver: str, options: list[str], files: int) -> None:
    assert log_settings.max_files(_host(driver, *options)) == files


@pytest.mark.parametrize("size", ["-1", "", "x"])
def test_a_size_that_is_none_is_refused_when_it_starts(size: str) -> None:
    with pytest.raises(Internal) as caught:
        log_settings.max_bytes(_host("json-file", f"max-size={size}"))
    assert caught.value.message == f"{PREFIX}invalid size: '{size}'"


def test_a_driver_that_is_not_named_is_one_that_has_the_options() -> None:
    assert [log_settings.driver_for(names) for names in ([], ["max-size"], ["max-size", "labels"])] == ["local", "local", "json-file"]


def _record(*options: str) -> Record:
    config = Config(image="busybox", env=("E1=3 4", "F=1"), labels=(("a", "1"), ("b", "2")))
    return Record(id="0123456789abcdef" * 4, name="web", created_at_ns=0, image_id="sha256:" + "ab" * 32, path="true", args=(), config=config,
                  host=_host("json-file", *options), state=State(), attachments=())  # fmt: skip


def test_details_are_the_chosen_labels_variables_and_the_tag() -> None:
    assert log_attributes.details_of(_record()) == b""
    assert log_attributes.details_of(_record("labels=b,a,c", "env-regex=^E", "tag={{.ImageName}}/{{.Name}}/{{.ID}}")) == (
        b"E1=3+4,a=1,b=2,tag=busybox%2Fweb%2F0123456789ab"
    )


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("tag={{.Nosuch}}", "template: log-tag:1:2: executing \"log-tag\" at <.Nosuch>: can't evaluate field Nosuch in type *logger.Info"),
        ("tag={{", "template: log-tag:1: unclosed action"),
    ],
)
def test_a_tag_that_is_no_template_is_refused(option: str, text: str) -> None:
    with pytest.raises(Internal) as caught:
        log_attributes.details_of(_record(option))
    assert caught.value.message == PREFIX + text
