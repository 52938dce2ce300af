// A day of a registry's administrator, through the public Go SDK of the REST contract, unmodified.
//
//	harborclient URL USER PASSWORD NAME REPOSITORY DIGEST
//
// The project NAME holds REPOSITORY with an image that has DIGEST and the tag v1. What was seen is printed as
// `step: values`, one line each; the first call that fails ends the program with 1.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/goharbor/go-client/pkg/harbor"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/artifact"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/auditlog"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/configure"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/health"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/label"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/member"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/permissions"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project_metadata"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/quota"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/repository"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/robot"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/search"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/statistic"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/systeminfo"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/user"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
)

type day struct {
	api        *client.HarborAPI
	ctx        context.Context
	name       string
	repository string
	digest     string
}

func main() {
	address, person, password := os.Args[1], os.Args[2], os.Args[3]
	clients, err := harbor.NewClientSet(&harbor.ClientSetConfig{URL: address, Username: person, Password: password})
	check("client", err)
	d := day{clients.V2(), context.Background(), os.Args[4], os.Args[5], os.Args[6]}
	d.lookAround()
	d.people()
	d.machines()
	d.images()
	d.habits()
	d.book()
	d.tidyUp()
}

// check ends the program at a call that failed.
func check(step string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", step, err)
		os.Exit(1)
	}
}

func say(step string, values ...any) {
	fmt.Println(step+":", strings.TrimSpace(fmt.Sprintln(values...)))
}

func point[T any](value T) *T { return &value }

// last gives the id at the end of a Location header.
func last(location string) (id int64) {
	parsed, err := url.Parse(location)
	check("location", err)
	_, err = fmt.Sscan(parsed.Path[strings.LastIndex(parsed.Path, "/")+1:], &id)
	check("location "+location, err)
	return id
}

func (d day) lookAround() {
	healthy, err := d.api.Health.GetHealth(d.ctx, health.NewGetHealthParams())
	check("health", err)
	say("health", healthy.Payload.Status)
	info, err := d.api.Systeminfo.GetSystemInfo(d.ctx, systeminfo.NewGetSystemInfoParams())
	check("systeminfo", err)
	say("auth mode", *info.Payload.AuthMode)
	settings, err := d.api.Configure.GetConfigurations(d.ctx, configure.NewGetConfigurationsParams())
	check("configurations", err)
	say("read only", settings.Payload.ReadOnly.Value)
	banner := &models.Configurations{BannerMessage: point("maintenance at noon")}
	_, err = d.api.Configure.UpdateConfigurations(d.ctx, configure.NewUpdateConfigurationsParams().WithConfigurations(banner))
	check("update configurations", err)
	settings, err = d.api.Configure.GetConfigurations(d.ctx, configure.NewGetConfigurationsParams())
	check("configurations", err)
	say("banner", settings.Payload.BannerMessage.Value)
	grantable, err := d.api.Permissions.GetPermissions(d.ctx, permissions.NewGetPermissionsParams())
	check("permissions", err)
	say("grantable", len(grantable.Payload.Project) > 50, len(grantable.Payload.System) > 20)
}

func (d day) people() {
	request := &models.UserCreationReq{
		Username: d.name + "-ann", Email: d.name + "-ann@example.org", Realname: "Ann", Password: "Portolan-1",
	}
	created, err := d.api.User.CreateUser(d.ctx, user.NewCreateUserParams().WithUserReq(request))
	check("create user", err)
	id := last(created.Location)
	found, err := d.api.User.SearchUsers(d.ctx, user.NewSearchUsersParams().WithUsername(request.Username))
	check("search users", err)
	say("user found", len(found.Payload), found.Payload[0].UserID == id)
	shown, err := d.api.User.GetUser(d.ctx, user.NewGetUserParams().WithUserID(id))
	check("get user", err)
	say("user", shown.Payload.Realname, shown.Payload.SysadminFlag)

	entry := &models.ProjectMember{RoleID: 2, MemberUser: &models.UserEntity{Username: request.Username}}
	joined, err := d.api.Member.CreateProjectMember(
		d.ctx, member.NewCreateProjectMemberParams().WithProjectNameOrID(d.name).WithProjectMember(entry))
	check("create member", err)
	mid := last(joined.Location)
	_, err = d.api.Member.UpdateProjectMember(d.ctx, member.NewUpdateProjectMemberParams().
		WithProjectNameOrID(d.name).WithMid(mid).WithRole(&models.RoleRequest{RoleID: 4}))
	check("update member", err)
	members, err := d.api.Member.ListProjectMembers(
		d.ctx, member.NewListProjectMembersParams().WithProjectNameOrID(d.name).WithEntityname(point(request.Username)))
	check("list members", err)
	say("member", len(members.Payload), members.Payload[0].RoleName)
}

func (d day) machines() {
	access := []*models.Access{{Resource: "repository", Action: "pull"}, {Resource: "repository", Action: "push"}}
	request := &models.RobotCreate{
		Name: "ci", Level: "project", Duration: 7, Description: "builds",
		Permissions: []*models.RobotPermission{{Kind: "project", Namespace: d.name, Access: access}},
	}
	created, err := d.api.Robot.CreateRobot(d.ctx, robot.NewCreateRobotParams().WithRobot(request))
	check("create robot", err)
	say("robot", strings.TrimPrefix(created.Payload.Name, "robot$"+d.name), created.Payload.Secret != "")
	shown, err := d.api.Robot.GetRobotByID(d.ctx, robot.NewGetRobotByIDParams().WithRobotID(created.Payload.ID))
	check("get robot", err)
	say("robot may", len(shown.Payload.Permissions), len(shown.Payload.Permissions[0].Access), shown.Payload.Level)
	refreshed, err := d.api.Robot.RefreshSec(d.ctx, robot.NewRefreshSecParams().
		WithRobotID(created.Payload.ID).WithRobotSec(&models.RobotSec{}))
	check("refresh robot", err)
	say("new secret", refreshed.Payload.Secret != created.Payload.Secret)
	_, err = d.api.Robot.DeleteRobot(d.ctx, robot.NewDeleteRobotParams().WithRobotID(created.Payload.ID))
	check("delete robot", err)
}

func (d day) images() {
	described := &models.Repository{Description: "the application"}
	_, err := d.api.Repository.UpdateRepository(d.ctx, repository.NewUpdateRepositoryParams().
		WithProjectName(d.name).WithRepositoryName(d.repository).WithRepository(described))
	check("update repository", err)
	shown, err := d.api.Repository.GetRepository(d.ctx, repository.NewGetRepositoryParams().
		WithProjectName(d.name).WithRepositoryName(d.repository))
	check("get repository", err)
	say("repository", shown.Payload.Description, shown.Payload.ArtifactCount)

	own, err := d.api.Label.CreateLabel(d.ctx, label.NewCreateLabelParams().WithLabel(
		&models.Label{Name: "released", Color: "#00AA00", Scope: "p", ProjectID: d.projectID()}))
	check("create label", err)
	_, err = d.api.Artifact.AddLabel(d.ctx, artifact.NewAddLabelParams().WithProjectName(d.name).
		WithRepositoryName(d.repository).WithReference(d.digest).WithLabel(&models.Label{ID: last(own.Location)}))
	check("add label", err)
	_, err = d.api.Artifact.CreateTag(d.ctx, artifact.NewCreateTagParams().WithProjectName(d.name).
		WithRepositoryName(d.repository).WithReference(d.digest).WithTag(&models.Tag{Name: "stable"}))
	check("create tag", err)

	everything := artifact.NewListArtifactsParams().WithProjectName(d.name).WithRepositoryName(d.repository).
		WithWithTag(point(true)).WithWithLabel(point(true)).WithWithAccessory(point(true)).
		WithWithScanOverview(point(true)).WithWithImmutableStatus(point(true)).WithQ(point("tags=stable"))
	listed, err := d.api.Artifact.ListArtifacts(d.ctx, everything)
	check("list artifacts", err)
	first := listed.Payload[0]
	say("artifact", listed.XTotalCount, first.Digest == d.digest, first.Type, len(first.Tags), first.Labels[0].Name)

	plain, err := url.PathUnescape(d.repository)
	check("repository", err)
	_, err = d.api.Artifact.CopyArtifact(d.ctx, artifact.NewCopyArtifactParams().WithProjectName(d.name).
		WithRepositoryName("copies").WithFrom(d.name+"/"+plain+"@"+d.digest))
	check("copy artifact", err)
	copied, err := d.api.Artifact.GetArtifact(d.ctx, artifact.NewGetArtifactParams().WithProjectName(d.name).
		WithRepositoryName("copies").WithReference(d.digest))
	check("get copy", err)
	say("copy", copied.Payload.Digest == d.digest)
	_, err = d.api.Artifact.DeleteTag(d.ctx, artifact.NewDeleteTagParams().WithProjectName(d.name).
		WithRepositoryName(d.repository).WithReference(d.digest).WithTagName("stable"))
	check("delete tag", err)
	tags, err := d.api.Artifact.ListTags(d.ctx, artifact.NewListTagsParams().WithProjectName(d.name).
		WithRepositoryName(d.repository).WithReference(d.digest))
	check("list tags", err)
	say("tags left", len(tags.Payload), tags.Payload[0].Name)
}

// habits does what command lines and providers built on this SDK do: they look up by listing everything, they leave out
// what is false, zero or empty, they send null for a list that is nil, and they do again what was done already.
func (d day) habits() {
	everything, none := int64(0), int64(0)
	registries, err := d.api.Registry.ListRegistries(d.ctx, registry.NewListRegistriesParams())
	check("list registries", err)
	limit := int64(0)
	request := &models.ProjectReq{ProjectName: d.name + "-more", StorageLimit: &limit, CVEAllowlist: &models.CVEAllowlist{}}
	_, err = d.api.Project.CreateProject(d.ctx, project.NewCreateProjectParams().WithProject(request))
	check("create project without a limit", err)
	shown, err := d.api.Project.GetProject(d.ctx, project.NewGetProjectParams().WithProjectNameOrID(d.name+"-more"))
	check("get project", err)
	again := &models.ProjectReq{CVEAllowlist: shown.Payload.CVEAllowlist, Metadata: shown.Payload.Metadata}
	_, err = d.api.Project.UpdateProject(d.ctx, project.NewUpdateProjectParams().
		WithProjectNameOrID(d.name+"-more").WithProject(again))
	check("update project by what was read", err)
	say("registries", len(registries.Payload), shown.Payload.CVEAllowlist.Items != nil)

	users, err := d.api.User.ListUsers(d.ctx, user.NewListUsersParams().WithPage(&none).WithPageSize(&everything))
	check("list all users", err)
	for _, found := range users.Payload {
		if found.Username == d.name+"-ann" {
			d.demote(found.UserID)
		}
	}
	quotas, err := d.api.Quota.ListQuotas(d.ctx, quota.NewListQuotasParams().WithPage(&none).WithPageSize(&everything))
	check("list all quotas", err)
	say("all quotas", int64(len(quotas.Payload)) == quotas.XTotalCount)

	made, err := d.api.Label.CreateLabel(d.ctx, label.NewCreateLabelParams().WithLabel(
		&models.Label{Name: d.name, Color: "false", Scope: "g"}))
	check("create label", err)
	labels, err := d.api.Label.ListLabels(d.ctx, label.NewListLabelsParams().WithScope(point("g")).WithPage(&none).WithPageSize(&everything))
	check("list all labels", err)
	_, err = d.api.Label.DeleteLabel(d.ctx, label.NewDeleteLabelParams().WithLabelID(last(made.Location)))
	check("delete label", err)
	say("labels", len(labels.Payload) > 0)
	d.robotAgain()
	d.promoteAgain()
	_, err = d.api.Project.DeleteProject(d.ctx, project.NewDeleteProjectParams().WithProjectNameOrID(d.name+"-more"))
	check("delete project", err)
}

// demote makes a user administrator and no longer: false is left out by the SDK.
func (d day) demote(id int64) {
	for _, flag := range []bool{true, false} {
		_, err := d.api.User.SetUserSysAdmin(d.ctx, user.NewSetUserSysAdminParams().
			WithUserID(id).WithSysadminFlag(&models.UserSysAdminFlag{SysadminFlag: flag}))
		check("set sysadmin", err)
	}
	profile := &models.UserProfile{Email: d.name + "-ann@example.org", Realname: "Ann", Comment: "c"}
	for _, profile.Comment = range []string{"c", ""} {
		_, err := d.api.User.UpdateUserProfile(d.ctx, user.NewUpdateUserProfileParams().WithUserID(id).WithProfile(profile))
		check("update profile", err)
	}
	shown, err := d.api.User.GetUser(d.ctx, user.NewGetUserParams().WithUserID(id))
	check("get user", err)
	say("demoted", !shown.Payload.SysadminFlag, shown.Payload.Comment == "")
}

// robotAgain disables a robot and enables it: false and an empty description are left out by the SDK.
func (d day) robotAgain() {
	permissions := []*models.RobotPermission{{Kind: "system", Namespace: "/", Access: []*models.Access{{Resource: "project", Action: "list"}}}}
	created, err := d.api.Robot.CreateRobot(d.ctx, robot.NewCreateRobotParams().WithRobot(
		&models.RobotCreate{Name: d.name, Level: "system", Duration: -1, Description: "d", Disable: true, Permissions: permissions}))
	check("create robot", err)
	_, err = d.api.Robot.UpdateRobot(d.ctx, robot.NewUpdateRobotParams().WithRobotID(created.Payload.ID).WithRobot(
		&models.Robot{Name: created.Payload.Name, Level: "system", Duration: point(int64(-1)), Permissions: permissions}))
	check("update robot", err)
	shown, err := d.api.Robot.GetRobotByID(d.ctx, robot.NewGetRobotByIDParams().WithRobotID(created.Payload.ID))
	check("get robot", err)
	say("robot enabled", !shown.Payload.Disable, shown.Payload.Description == "")
	_, err = d.api.Robot.DeleteRobot(d.ctx, robot.NewDeleteRobotParams().WithRobotID(created.Payload.ID))
	check("delete robot", err)
}

// promoteAgain copies what was copied before.
func (d day) promoteAgain() {
	plain, err := url.PathUnescape(d.repository)
	check("repository", err)
	_, err = d.api.Artifact.CopyArtifact(d.ctx, artifact.NewCopyArtifactParams().WithProjectName(d.name).
		WithRepositoryName("copies").WithFrom(d.name+"/"+plain+":v1"))
	check("copy again", err)
	tags, err := d.api.Artifact.ListTags(d.ctx, artifact.NewListTagsParams().WithProjectName(d.name).
		WithRepositoryName("copies").WithReference(d.digest))
	check("list tags of the copy", err)
	say("copied again", len(tags.Payload))
}

func (d day) projectID() int64 {
	shown, err := d.api.Project.GetProject(d.ctx, project.NewGetProjectParams().WithProjectNameOrID(d.name))
	check("get project", err)
	return int64(shown.Payload.ProjectID)
}

func (d day) book() {
	reference, id := "project", fmt.Sprint(d.projectID())
	quotas, err := d.api.Quota.ListQuotas(d.ctx, quota.NewListQuotasParams().WithReference(&reference).WithReferenceID(&id))
	check("list quotas", err)
	say("quota", len(quotas.Payload), quotas.Payload[0].Hard["storage"], quotas.Payload[0].Used["storage"] > 0)
	limit := &models.QuotaUpdateReq{Hard: models.ResourceList{"storage": 1 << 30}}
	_, err = d.api.Quota.UpdateQuota(d.ctx, quota.NewUpdateQuotaParams().WithID(quotas.Payload[0].ID).WithHard(limit))
	check("update quota", err)
	summary, err := d.api.Project.GetProjectSummary(d.ctx, project.NewGetProjectSummaryParams().WithProjectNameOrID(d.name))
	check("summary", err)
	say("summary", summary.Payload.RepoCount, summary.Payload.Quota.Hard["storage"])
	_, err = d.api.ProjectMetadata.AddProjectMetadatas(d.ctx, project_metadata.NewAddProjectMetadatasParams().
		WithProjectNameOrID(d.name).WithMetadata(map[string]string{"auto_scan": "true"}))
	check("add metadata", err)
	metadata, err := d.api.ProjectMetadata.GetProjectMetadata(d.ctx, project_metadata.NewGetProjectMetadataParams().
		WithProjectNameOrID(d.name).WithMetaName("auto_scan"))
	check("get metadata", err)
	say("metadata", metadata.Payload["auto_scan"])
	hits, err := d.api.Search.Search(d.ctx, search.NewSearchParams().WithQ(d.name))
	check("search", err)
	say("search", len(hits.Payload.Project), len(hits.Payload.Repository))
	counts, err := d.api.Statistic.GetStatistic(d.ctx, statistic.NewGetStatisticParams())
	check("statistics", err)
	say("statistics", counts.Payload.TotalProjectCount > 0, counts.Payload.TotalStorageConsumption > 0)
	say("audit log", comes(func() int {
		entries, err := d.api.Auditlog.ListAuditLogExts(d.ctx, auditlog.NewListAuditLogExtsParams().
			WithQ(point("resource_type=artifact,operation=create")))
		check("audit log", err)
		return len(entries.Payload)
	}))
	say("project logs", comes(func() int {
		logs, err := d.api.Project.GetLogs(d.ctx, project.NewGetLogsParams().WithProjectName(d.name))
		check("project logs", err)
		return len(logs.Payload)
	}))
}

// comes waits for what is told a moment after it happened.
func comes(count func() int) bool {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if count() > 0 {
			return true
		}
	}
	return false
}

func (d day) tidyUp() {
	deletable, err := d.api.Project.GetProjectDeletable(
		d.ctx, project.NewGetProjectDeletableParams().WithProjectNameOrID(d.name))
	check("deletable", err)
	say("deletable", deletable.Payload.Deletable, deletable.Payload.Message != "")
	_, err = d.api.Project.DeleteProject(d.ctx, project.NewDeleteProjectParams().WithProjectNameOrID(d.name))
	_, isPrecondition := err.(*project.DeleteProjectPreconditionFailed)
	say("refused to delete", isPrecondition)
	for _, name := range []string{d.repository, "copies"} {
		_, err = d.api.Repository.DeleteRepository(d.ctx, repository.NewDeleteRepositoryParams().
			WithProjectName(d.name).WithRepositoryName(name))
		check("delete repository", err)
	}
	_, err = d.api.Project.DeleteProject(d.ctx, project.NewDeleteProjectParams().WithProjectNameOrID(d.name))
	check("delete project", err)
	_, err = d.api.Project.HeadProject(d.ctx, project.NewHeadProjectParams().WithProjectName(d.name))
	_, isGone := err.(*project.HeadProjectNotFound)
	say("gone", isGone)
}
