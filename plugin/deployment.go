package plugin

import (
	"fmt"
	"os"
	"strings"

	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/wflo-ai/wflo-go"
)

// DeploymentFromEnv reads which build of which deployment a worker is, for
// worker.Options.DeploymentOptions, from the variables that Temporal's worker
// controller sets:
//
//	TEMPORAL_DEPLOYMENT_NAME  the deployment, such as agents
//	TEMPORAL_WORKER_BUILD_ID  the build, such as a commit: other code needs another one
//	WFLO_VERSIONING           pinned (default): a run stays with the build that it began with;
//	                          auto-upgrade: it goes on with the current one
//
// Without the first two the worker has no version. One without the other is an
// *wflo.Error with wflo.CodeInvalid.
func DeploymentFromEnv() (worker.DeploymentOptions, error) {
	name, build, behaviour := os.Getenv("TEMPORAL_DEPLOYMENT_NAME"), os.Getenv("TEMPORAL_WORKER_BUILD_ID"), os.Getenv("WFLO_VERSIONING")
	none := worker.DeploymentOptions{}
	switch {
	case name == "" && build == "" && behaviour == "":
		return none, nil
	case name == "" || build == "":
		return none, wflo.Invalid("TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID", "are not both set", "set both, or neither and no WFLO_VERSIONING")
	case strings.ContainsAny(name, ".:"):
		return none, wflo.Invalid("TEMPORAL_DEPLOYMENT_NAME", fmt.Sprintf("is %.80q", name), "use a name without a dot or colon, such as agents")
	}
	out := worker.DeploymentOptions{
		UseVersioning: true, Version: worker.WorkerDeploymentVersion{DeploymentName: name, BuildID: build},
		DefaultVersioningBehavior: workflow.VersioningBehaviorPinned,
	}
	switch behaviour {
	case "", "pinned":
	case "auto-upgrade":
		out.DefaultVersioningBehavior = workflow.VersioningBehaviorAutoUpgrade
	default:
		return none, wflo.Invalid("WFLO_VERSIONING", fmt.Sprintf("is %.80q", behaviour), "use pinned or auto-upgrade")
	}
	return out, nil
}
