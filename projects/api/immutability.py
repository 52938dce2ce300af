"""`/projects/{project_name_or_id}/immutabletagrules`: immutability rules, and previews of what they protect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from projects.api.selector_messages import RuleSelector, selector_messages, selectors_of
from projects.immutability.operations import Changes, create_rule, delete_rule, parse_selection, update_rule
from projects.immutability.rules import selection_of, tags_selected
from projects.models import ImmutabilityRule
from projects.selectors import Selection
from registry_core.api.base import ApiView, created, done
from registry_core.api.messages import NEVER, Answer, Body, Time, api_time, parse_body
from registry_core.api.openapi import IS_NAME, PAGED, operation
from registry_core.api.paging import ListRules, listed
from registry_core.api.permissions import in_project
from registry_core.api.query import number_key, text_key, time_key, truth_key
from registry_core.content.models import Tag
from registry_core.digests import Digest
from registry_core.errors import InvalidInput, NotFound

TAG: Final = "immutable"
ACTION: Final = "immutable"
TEMPLATE: Final = "immutable_template"
REPOSITORY: Final = "repository"
ID_MAX: Final = 1 << 63
Priority = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
RULES: Final = ListRules(
    keys={"id": number_key("pk"), "priority": number_key("priority"), "disabled": truth_key("is_disabled")},
    sorts={"id": "pk", "priority": "priority"},
    order=("pk",),
)
TAG_RULES: Final = ListRules(
    keys={
        "id": number_key("pk"),
        "name": text_key("name"),
        "repository_id": number_key("repository_id"),
        "push_time": time_key("pushed_at"),
        "pull_time": time_key("pulled_at"),
    },
    sorts={"id": "pk", "name": "name", "push_time": "pushed_at", "pull_time": "pulled_at"},
    nullable=frozenset({"pulled_at"}),
)


class ImmutableRule(Body):
    """An immutability rule. Fields that an update lacks stay as they are. `params` are not used."""

    id: int | None = None
    priority: Priority | None = None
    disabled: bool | None = None
    action: str = ACTION
    template: str = TEMPLATE
    params: dict[str, Any] = {}
    tag_selectors: list[RuleSelector] | None = None
    scope_selectors: dict[str, list[RuleSelector]] | None = None


class ImmutableRuleAnswer(Answer):
    """An immutability rule: the tags that all of `tag_selectors` select can be neither moved nor deleted, in the
    repositories that all selectors in `scope_selectors` under `repository` select."""

    id: int
    priority: int
    disabled: bool
    action: str
    template: str
    params: dict[str, Any]
    tag_selectors: list[RuleSelector]
    scope_selectors: dict[str, list[RuleSelector]]


class ProtectedTag(Answer):
    """A tag that a rule protects."""

    id: int
    name: str
    repository_id: int
    repository_name: str
    artifact_id: int
    digest: str
    push_time: Time
    pull_time: Time


class RulesView(ApiView):
    """`/projects/{project_name_or_id}/immutabletagrules`."""

    access = {"GET": in_project("immutable-tag", "list"), "POST": in_project("immutable-tag", "create")}

    @operation("ListImmuRules", TAG, parameters=[IS_NAME, *PAGED], answer=list[ImmutableRuleAnswer])
    def get(self, request: Request, project_name_or_id: str) -> Response:
        """List the immutability rules of the project."""
        return listed(request, ImmutabilityRule.objects.filter(project=self.project), RULES, _present)

    @operation(
        "CreateImmuRule",
        TAG,
        parameters=[IS_NAME],
        body=ImmutableRule,
        status=201,
        errors=(400, 401, 403, 404, 409),
    )
    def post(self, request: Request, project_name_or_id: str) -> Response:
        """Create an immutability rule. It protects from the moment of the answer on."""
        asked = parse_body(request, ImmutableRule)
        rule = create_rule(
            project=self.project,
            selection=_selection(asked),
            priority=asked.priority or 0,
            is_disabled=bool(asked.disabled),
            cause=self.cause,
        )
        return created(f"{request.path}/{rule.pk}")


class RuleView(ApiView):
    """`/projects/{project_name_or_id}/immutabletagrules/{immutable_rule_id}`."""

    access = {"PUT": in_project("immutable-tag", "update"), "DELETE": in_project("immutable-tag", "delete")}

    @operation("UpdateImmuRule", TAG, parameters=[IS_NAME], body=ImmutableRule, errors=(400, 401, 403, 404, 409))
    def put(self, request: Request, project_name_or_id: str, immutable_rule_id: int) -> Response:
        """Change an immutability rule, or enable or disable it."""
        asked = parse_body(request, ImmutableRule)
        known = find_rule(self, immutable_rule_id)
        changes = Changes(_changed_selection(known, asked), asked.priority, asked.disabled)
        update_rule(project=self.project, rule_id=known.pk, changes=changes, cause=self.cause)
        return done()

    @operation("DeleteImmuRule", TAG, parameters=[IS_NAME])
    def delete(self, _request: Request, project_name_or_id: str, immutable_rule_id: int) -> Response:
        """Delete an immutability rule."""
        delete_rule(project=self.project, rule_id=find_rule(self, immutable_rule_id).pk, cause=self.cause)
        return done()


class RulePreviewView(ApiView):
    """`/projects/{project_name_or_id}/immutabletagrules/{immutable_rule_id}/preview`."""

    access = {"GET": in_project("immutable-tag", "list")}

    @operation("previewImmuRule", TAG, parameters=[IS_NAME, *PAGED], answer=list[ProtectedTag])
    def get(self, request: Request, project_name_or_id: str, immutable_rule_id: int) -> Response:
        """List the tags that the rule protects, or would protect if it were not disabled, the newest first."""
        return _preview(self, request, selection_of(find_rule(self, immutable_rule_id)))


class PreviewView(ApiView):
    """`/projects/{project_name_or_id}/immutabletagrules/preview`."""

    access = {"POST": in_project("immutable-tag", "list")}
    works_read_only = True

    @operation(
        "previewNewImmuRule",
        TAG,
        parameters=[IS_NAME, *PAGED],
        body=ImmutableRule,
        answer=list[ProtectedTag],
    )
    def post(self, request: Request, project_name_or_id: str) -> Response:
        """List the tags that a rule would protect, without creating it, the newest first."""
        return _preview(self, request, _selection(parse_body(request, ImmutableRule)))


def find_rule(view: ApiView, rule_id: int) -> ImmutabilityRule:
    """The rule of the view's project. Raises NotFound."""
    rule = ImmutabilityRule.objects.filter(project=view.project, pk=rule_id).first() if rule_id < ID_MAX else None
    if rule is None:
        raise NotFound(f"the project {view.project.name} has no immutability rule {rule_id}")
    return rule


def _selection(asked: ImmutableRule) -> Selection:
    """What a new rule selects. Raises InvalidInput."""
    _check_constants(asked)
    scopes = asked.scope_selectors or {}
    if unknown := scopes.keys() - {REPOSITORY}:
        raise InvalidInput(f"scope_selectors has the key {REPOSITORY} only, not {min(unknown)[:40]!r}")
    return parse_selection(selectors_of(asked.tag_selectors or []), selectors_of(scopes.get(REPOSITORY, [])))


def _changed_selection(known: ImmutabilityRule, asked: ImmutableRule) -> Selection | None:
    """What the rule selects from now on; None if that is not changed. Raises InvalidInput."""
    _check_constants(asked)
    if asked.tag_selectors is None and asked.scope_selectors is None:
        return None
    former = selection_of(known)
    if asked.tag_selectors is None:
        asked.tag_selectors = selector_messages(former.tags)
    if asked.scope_selectors is None:
        asked.scope_selectors = {REPOSITORY: selector_messages(former.repositories)}
    return _selection(asked)


def _check_constants(asked: ImmutableRule) -> None:
    if asked.action not in {"", ACTION} or asked.template not in {"", TEMPLATE}:
        raise InvalidInput(f"an immutability rule has the action {ACTION} and the template {TEMPLATE}")


def _preview(view: ApiView, request: Request, selection: Selection) -> Response:
    return listed(request, tags_selected(view.project.pk, selection), TAG_RULES, _present_tags, load=_load_tags)


def _load_tags(keys: list[int]) -> QuerySet[Tag]:
    return Tag.objects.filter(pk__in=keys).select_related("artifact", "repository__project")


def _present(rules: Sequence[ImmutabilityRule]) -> list[Any]:
    return [_answer(rule, selection_of(rule)) for rule in rules]


def _answer(rule: ImmutabilityRule, selection: Selection) -> ImmutableRuleAnswer:
    return ImmutableRuleAnswer(
        id=rule.pk,
        priority=rule.priority,
        disabled=rule.is_disabled,
        action=ACTION,
        template=TEMPLATE,
        params={},
        tag_selectors=selector_messages(selection.tags),
        scope_selectors={REPOSITORY: selector_messages(selection.repositories)},
    )


def _present_tags(tags: Sequence[Tag]) -> list[Any]:
    return [
        ProtectedTag(
            id=tag.pk,
            name=tag.name,
            repository_id=tag.repository_id,
            repository_name=str(tag.repository),
            artifact_id=tag.artifact_id,
            digest=str(Digest(bytes(tag.artifact.digest))),
            push_time=api_time(tag.pushed_at),
            pull_time=api_time(tag.pulled_at) if tag.pulled_at else NEVER,
        )
        for tag in tags
    ]
