"""The command line, as somebody who types it sees it: output, exit codes, log lines."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from registry_core.content.scrub import ScrubReport
from registry_core.wiring import cli_storage
from registry_core.wiring.supervisor.ports import free_port
from tests.conftest import ServerFactory
from tests.support.server import PORTOLAN, Server
from tests.support.waiting import wait_until


def portolan(*arguments: str, data: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command in an environment of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PORTOLAN_")}
    env = inherited | {"PORTOLAN_DATA": str(data), "PORTOLAN_CONFIG": os.devnull} | environment
    return subprocess.run(
        [str(PORTOLAN), *arguments], env=env, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def test_version_is_that_of_the_package(tmp_path: Path) -> None:
    result = portolan("version", data=tmp_path)
    assert (result.returncode, result.stdout) == (0, "0.1.0\n")


def test_help_documents_the_exit_codes(tmp_path: Path) -> None:
    assert "4 already running" in " ".join(portolan("--help", data=tmp_path).stdout.split())


def test_unknown_command_is_wrong_usage(tmp_path: Path) -> None:
    assert portolan("sail", data=tmp_path).returncode == 2


def test_unknown_variable_is_wrong_configuration(tmp_path: Path) -> None:
    result = portolan("settings", data=tmp_path, PORTOLAN_WORKER="3")
    assert result.returncode == 3
    assert "did you mean PORTOLAN_WORKERS?" in result.stderr


def test_settings_come_from_the_file_given_by_option(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("workers: 5\nadmin_password: hunter2\n")
    result = portolan("--config", str(tmp_path / "mine.yml"), "settings", data=tmp_path)
    assert result.returncode == 0
    assert any(line.split()[:2] == ["workers", "5"] for line in result.stdout.splitlines())
    assert "hunter2" not in result.stdout


@pytest.mark.parametrize("command", ["serve", "worker", "beat", "migrate"])
def test_command_without_a_database_says_which_setting_is_missing(command: str, tmp_path: Path) -> None:
    result = portolan(command, data=tmp_path)
    assert result.returncode == 3
    assert "portolan up" in result.stderr
    assert "Traceback" not in result.stderr


def test_check_without_stores_fails_and_says_why(tmp_path: Path) -> None:
    result = portolan("check", data=tmp_path)
    assert result.returncode == 1
    assert "PORTOLAN_DATABASE_URL" in result.stdout


def test_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://ada:hunter2@127.0.0.1:{free_port()}/portolan"
    result = portolan("migrate", data=tmp_path, PORTOLAN_DATABASE_URL=url)
    assert result.returncode == 1
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


def test_check_of_a_sound_installation_passes(server: Server) -> None:
    server.manage("from registry_core.processes.heartbeats import beat; beat('worker'); beat('clock')")
    result = portolan_for(server, "check")
    assert (result.returncode, "FAILED" in result.stdout) == (0, False), result.stdout


def test_settings_are_explained_with_unit_default_and_variable(tmp_path: Path) -> None:
    explained = portolan("settings", "--explain", data=tmp_path, PORTOLAN_UPLOAD_TTL_S="7200").stdout
    assert "upload_ttl_s = 7200  (environment PORTOLAN_UPLOAD_TTL_S)" in explained
    assert "seconds, at least 60, at most 315360000; default: 86400" in explained


def test_sample_file_is_one_that_can_be_used(tmp_path: Path) -> None:
    sample = portolan("settings", "--sample", data=tmp_path).stdout
    (tmp_path / "portolan.yml").write_text(sample.replace("#workers: 2", "workers: 7"))
    shown = portolan("settings", data=tmp_path, PORTOLAN_CONFIG=str(tmp_path / "portolan.yml"))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert any(line.split()[:2] == ["workers", "7"] for line in shown.stdout.splitlines())


def test_secret_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:hunter2@cache/0\n")
    shown = portolan("settings", data=tmp_path, PORTOLAN_REDIS_URL_FILE=str(tmp_path / "url")).stdout
    assert "redis://:********@cache/0" in shown
    assert "environment PORTOLAN_REDIS_URL_FILE" in shown


@pytest.mark.parametrize("option", ["--reset", "--set-password"])
def test_user_made_on_the_command_line_has_a_password_that_can_be_set(server: Server, unique: str, option: str) -> None:
    assert portolan_for(server, "createuser", unique, stdin="Sextant-1908\n").returncode == 0
    assert portolan_for(server, "createuser", unique, option, stdin="Astrolabe-1909\n").returncode == 0
    signed_in = httpx.get(f"{server.url}/api/v2.0/users/current", auth=(unique, "Astrolabe-1909"), timeout=30)
    assert (signed_in.status_code, signed_in.json()["username"]) == (200, unique)
    again = portolan_for(server, "createuser", unique, stdin="Sextant-1908\n")
    assert again.returncode == 1
    assert "Traceback" not in again.stderr


def test_password_of_nobody_cannot_be_set(server: Server, unique: str) -> None:
    result = portolan_for(server, "createuser", unique, "--set-password", stdin="Sextant-1908\n")
    assert result.returncode == 1
    assert f"there is no user '{unique}'" in result.stderr


def test_setting_a_password_changes_nothing_else(server: Server, unique: str) -> None:
    """What would be ignored is refused: somebody would believe that the user is an administrator now."""
    assert portolan_for(server, "createuser", unique, stdin="Sextant-1908\n").returncode == 0
    result = portolan_for(server, "createuser", unique, "--reset", "--admin", stdin="Astrolabe-1909\n")
    assert (result.returncode, "leave out --admin" in result.stderr) == (2, True)
    unchanged = httpx.get(f"{server.url}/api/v2.0/users/current", auth=(unique, "Sextant-1908"), timeout=30)
    assert (unchanged.status_code, unchanged.json()["sysadmin_flag"]) == (200, False)


def test_what_is_not_in_the_trash_is_named(server: Server) -> None:
    result = portolan_for(server, "storage", "trash", "restore", "no/such")
    assert (result.returncode, "no/such was not restored: it is not in the trash" in result.stderr) == (1, True)


def test_storage_of_a_sound_installation_is_clean(start_server: ServerFactory) -> None:
    server = start_server()  # what tests of the shared one broke off lies there until a sweep
    checked = portolan_for(server, "storage", "check")
    assert (checked.returncode, "the stores match the database" in checked.stdout) == (0, True), checked.stdout
    assert portolan_for(server, "storage", "sweep").returncode == 0


def test_each_rotation_makes_another_key(tmp_path: Path) -> None:
    results = [portolan("keys", "rotate", data=tmp_path) for _ in range(2)]
    assert [result.returncode for result in results] == [0, 0]
    assert results[0].stdout != results[1].stdout


def test_a_scrub_that_takes_long_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress, so_far = cli_storage._Progress(), ScrubReport(blobs=3, read_bytes=70_000)
    progress(so_far)
    monkeypatch.setattr(cli_storage, "PROGRESS_EVERY_S", 0.0)
    progress(so_far)
    assert capsys.readouterr().err == "3 blobs, 70000 bytes read so far\n"


def test_no_key_is_made_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The registry that was meant, whose folder is another, would go on with the key that it has."""
    result = portolan("keys", "rotate", data=tmp_path / "none")
    assert (result.returncode, "PORTOLAN_DATA" in result.stderr) == (3, True)
    assert not (tmp_path / "none").exists()


def test_api_is_described_without_a_server_or_its_folder(tmp_path: Path) -> None:
    result = portolan("openapi", data=tmp_path / "none")
    assert result.stdout.startswith("openapi:"), result.stderr
    assert not (tmp_path / "none").exists()


def test_what_this_release_cannot_do_is_no_error_in_the_log(server: Server) -> None:
    account = ("admin", server.admin_password)
    answer = httpx.get(f"{server.url}/api/v2.0/scanners", auth=account, timeout=30)
    assert answer.status_code == 501
    wait_until(lambda: "/api/v2.0/scanners" in server.log_path.read_text(), what="the access line is written")
    assert "Not Implemented" not in server.log_path.read_text()


def test_access_line_is_json_without_line_breaks_and_signatures(tmp_path: Path) -> None:
    code = (
        "from registry_core import logs; logs.configure(); logs.access(request_id='r', client='::1', method='GET',"
        "path='/v2/?sig=hunter2\\nforged', status=200, size_bytes=3, duration_ms=1.5, user='ada'); logs.flush_access()"
    )
    env = {**os.environ, "PORTOLAN_DATA": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "hunter2" not in result.stderr
    line = json.loads(result.stderr)
    assert (line["status"], line["bytes"], line["user"], "\n" in line["path"]) == (200, 3, "ada", False)


def portolan_for(server: Server, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command on the data and database of `server`."""
    settings = {name: value for name, value in server.environment.items() if name.startswith("PORTOLAN_")}
    return portolan(*arguments, stdin=stdin, data=Path(settings.pop("PORTOLAN_DATA")), **settings)


def test_jobs_are_listed_shown_logged_stopped_and_retried(server: Server) -> None:
    started = server.manage(
        "from registry_core.access import of_system; from registry_core.jobs import executions, task_logs\n"
        "from registry_core.jobs.models import Task; from registry_core.content.tasks import audit_quotas\n"
        "number = executions.start(audit_quotas, cause=of_system('test'), tasks=[{}, {}])\n"
        "task_logs.append(Task.objects.filter(execution_id=number).first().pk, 'first line\\n')\n"
        "print(number)"
    ).split()[-1]
    listed = portolan_for(server, "jobs", "list", "--open").stdout
    assert re.search(rf"^ *{started}  Pending +QUOTA_AUDIT +MANUAL .* 2 tasks: 0 done", listed, re.MULTILINE)
    assert started not in portolan_for(server, "jobs", "list", "--kind", "RETENTION").stdout
    assert portolan_for(server, "jobs", "show", started).stdout.count("  Pending  attempt 0") == 2
    assert portolan_for(server, "jobs", "log", started).stdout == "first line\n"
    refused = portolan_for(server, "jobs", "retry", started)
    assert refused.returncode == 1
    assert "is in progress" in refused.stderr
    assert " Stopped " in portolan_for(server, "jobs", "stop", started).stdout
    assert portolan_for(server, "jobs", "retry", started).stdout == "2 tasks run again\n"
    assert " Stopped " in portolan_for(server, "jobs", "stop", started).stdout
    for command in ("show", "log", "stop", "retry"):
        missing = portolan_for(server, "jobs", command, "0")
        assert (missing.returncode, "there is no job 0" in missing.stderr) == (1, True)
