package wflo

import (
	"slices"
	"strings"
	"time"
)

// AccessRole is what a person or a program may do in the console and the API.
type AccessRole string

// The roles. Each stands for itself: an admin may do everything, but an approver
// may decide only where a gate names them.
const (
	RoleViewer   AccessRole = "viewer"   // see runs, spend, gates, policies
	RoleOperator AccessRole = "operator" // viewer, and start, halt and cancel runs, change budgets
	RoleApprover AccessRole = "approver" // viewer, and decide at gates
	RoleAdmin    AccessRole = "admin"    // everything, keys and notices included
)

// AccessRoles lists the roles from the least to the most.
func AccessRoles() []AccessRole {
	return []AccessRole{RoleViewer, RoleOperator, RoleApprover, RoleAdmin}
}

// Validate refuses an unknown role.
func (r AccessRole) Validate() error {
	if slices.Contains(AccessRoles(), r) {
		return nil
	}
	return Invalid("role", "is "+string(r), "use viewer, operator, approver or admin")
}

// Identity is somebody whom the console or the API knows. It never holds a secret.
type Identity struct {
	// Subject names the person: what approver lists and records hold.
	Subject string `json:"subject"`
	// Name is for display; empty means the Subject.
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	// Groups are those of approver lists, without the prefix "group:".
	Groups []string     `json:"groups,omitempty"`
	Roles  []AccessRole `json:"roles,omitempty"`
	// Org bounds what is seen to one tenant; empty means all of them.
	Org string `json:"org,omitempty"`
	// Method is how it was proved: apikey, oidc, ldap, slack, email, or the name
	// of a custom one.
	Method string `json:"method"`
	// Key is the id of the API key.
	Key string `json:"key,omitempty"`
	// At is when it was proved: for a session, the login.
	At time.Time `json:"at,omitzero"`
}

// May says whether the identity has a role, or one that includes it.
func (i Identity) May(r AccessRole) bool {
	if slices.Contains(i.Roles, RoleAdmin) || slices.Contains(i.Roles, r) {
		return true
	}
	return r == RoleViewer && len(i.Roles) > 0
}

// groupPrefix marks a group in a list of approvers.
const groupPrefix = "group:"

// GroupOf gives the name of a group in a list of approvers: "group:ops" is the
// group ops, and "ann" is none.
func GroupOf(approver string) (group string, ok bool) {
	return strings.CutPrefix(approver, groupPrefix)
}
