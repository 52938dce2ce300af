"""URLs of users, groups, members, robots and permissions."""

from django.urls import path

from rbac.api import current_user, groups, members, permissions, project_robots, refresh_tokens, robots, users

urlpatterns = [
    path("users", users.UsersView.as_view()),
    path("users/search", users.UserSearchView.as_view()),
    path("users/current", current_user.CurrentUserView.as_view()),
    path("users/current/permissions", current_user.CurrentPermissionsView.as_view()),
    path("users/<int:user_id>", users.UserView.as_view()),
    path("users/<int:user_id>/sysadmin", users.SysadminView.as_view()),
    path("users/<int:user_id>/password", users.PasswordView.as_view()),
    path("users/<int:user_id>/cli_secret", users.CliSecretView.as_view()),
    path("users/<int:user_id>/sessions", users.SessionsView.as_view()),
    path("users/<int:user_id>/refresh_tokens", refresh_tokens.RefreshTokensView.as_view()),
    path("users/<int:user_id>/refresh_tokens/<int:token_id>", refresh_tokens.RefreshTokenView.as_view()),
    path("usergroups", groups.GroupsView.as_view()),
    path("usergroups/search", groups.GroupSearchView.as_view()),
    path("usergroups/<int:group_id>", groups.GroupView.as_view()),
    path("robots", robots.RobotsView.as_view()),
    path("robots/<int:robot_id>", robots.RobotView.as_view()),
    path("permissions", permissions.PermissionsView.as_view()),
    path("projects/<str:project_name_or_id>/members", members.MembersView.as_view()),
    path("projects/<str:project_name_or_id>/members/<int:mid>", members.MemberView.as_view()),
    path("projects/<str:project_name_or_id>/robots", project_robots.ProjectRobotsView.as_view()),
    path("projects/<str:project_name_or_id>/robots/<int:robot_id>", project_robots.ProjectRobotView.as_view()),
]
