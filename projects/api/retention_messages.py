"""What `/retentions` takes and answers."""

from __future__ import annotations

from typing import Any, Final

from projects.api.selector_messages import RuleSelector
from projects.retention.rules import ACTION
from registry_core.api.messages import Answer, Body, Int64, ShortText, Time

ALGORITHM: Final = "or"
PROJECT: Final = "project"
SCHEDULE: Final = "Schedule"


class RetentionRule(Body):
    """A rule: what of the selected artifacts stays, by its template and the number in `params` under its name."""

    id: Int64 = 0
    priority: Int64 = 0
    disabled: bool = False
    action: ShortText = ACTION
    template: ShortText = ""
    params: dict[str, Any] = {}
    tag_selectors: list[RuleSelector] = []
    scope_selectors: dict[str, list[RuleSelector]] = {}


class RetentionRuleTrigger(Body):
    """When it runs: `settings.cron` has six fields; empty: only when it is started."""

    kind: ShortText = SCHEDULE
    settings: dict[str, Any] = {}
    references: dict[str, Any] = {}


class RetentionPolicyScope(Body):
    """What it is about: a project, by its id."""

    level: ShortText = PROJECT
    ref: Int64 = 0


class RetentionPolicyRequest(Body):
    """A retention policy."""

    id: Int64 = 0
    algorithm: ShortText = ALGORITHM
    rules: list[RetentionRule] = []
    trigger: RetentionRuleTrigger | None = None
    scope: RetentionPolicyScope | None = None


class RetentionPolicyAnswer(Answer, kw_only=True):
    """A retention policy."""

    id: int
    algorithm: str
    rules: list[RetentionRule]
    trigger: RetentionRuleTrigger
    scope: RetentionPolicyScope


class RetentionRun(Body):
    """How to run it."""

    dry_run: bool = False


class RetentionAction(Body):
    """What to do with a run: `stop`."""

    action: ShortText = ""


class RetentionExecution(Answer, kw_only=True):
    """A run of a policy."""

    id: int
    policy_id: int
    start_time: Time
    end_time: Time = ""
    status: str
    trigger: str
    dry_run: bool


class RetentionExecutionTask(Answer, kw_only=True):
    """What a run did in one repository: the artifacts that it looked at, and those that stayed."""

    id: int
    execution_id: int
    repository: str
    job_id: str
    status: str
    status_code: int
    status_revision: int
    start_time: Time = ""
    end_time: Time = ""
    total: int
    retained: int


class RetentionRuleParamMetadata(Answer, kw_only=True):
    """The parameter of a template."""

    type: str
    unit: str
    required: bool


class RetentionRuleMetadata(Answer, kw_only=True):
    """A template of rules."""

    rule_template: str
    display_text: str
    action: str
    params: list[RetentionRuleParamMetadata]


class RetentionSelectorMetadata(Answer, kw_only=True):
    """A kind of selector."""

    display_text: str
    kind: str
    decorations: list[str]


class RetentionMetadata(Answer, kw_only=True):
    """What rules can be made of."""

    templates: list[RetentionRuleMetadata]
    scope_selectors: list[RetentionSelectorMetadata]
    tag_selectors: list[RetentionSelectorMetadata]


class UpcomingDeletion(Answer, kw_only=True):
    """An artifact that the next run deletes as things are, and when that is; no time: the policy has no schedule."""

    repository: str
    digest: str
    tags: list[str]
    size: int
    push_time: Time
    time: Time = ""
