package profile

import (
	"encoding/json"
	"slices"
	"strings"
)

// What follows is Docker's format of a seccomp profile, as far as all engines
// from 20.10 on read it: no defaultErrnoRet, because the oldest ones drop it.
type (
	filter struct {
		Comment       string         `json:"comment"`
		DefaultAction string         `json:"defaultAction"`
		ArchMap       []architecture `json:"archMap"`
		Syscalls      []rule         `json:"syscalls"`
	}
	architecture struct {
		Architecture     string   `json:"architecture"`
		SubArchitectures []string `json:"subArchitectures"`
	}
	rule struct {
		Comment  string     `json:"comment,omitempty"`
		Names    []string   `json:"names"`
		Action   string     `json:"action"`
		ErrnoRet uint       `json:"errnoRet,omitempty"`
		Args     []argument `json:"args,omitempty"`
	}
	argument struct {
		Index    uint   `json:"index"`
		Value    uint64 `json:"value"`
		ValueTwo uint64 `json:"valueTwo"`
		Op       string `json:"op"`
	}
)

// render writes the groups as seccomp.json has them. Every alternative becomes
// a rule of its own: in one rule, engines disagree whether two conditions on
// the same argument mean both or either.
func render(groups []group) ([]byte, error) {
	f := filter{
		Comment:       "Made from rules.go of wflo's package sandbox/docker/profile; change it there.",
		DefaultAction: "SCMP_ACT_ERRNO",
		// No sub-architectures: a 32-bit call ends the thread that makes it.
		ArchMap: []architecture{{"SCMP_ARCH_X86_64", []string{}}, {"SCMP_ARCH_AARCH64", []string{}}},
	}
	for _, g := range groups {
		r := rule{Comment: g.reason, Names: g.names, Action: "SCMP_ACT_ALLOW"}
		if g.errno != 0 {
			r.Action, r.ErrnoRet = "SCMP_ACT_ERRNO", g.errno
		}
		if g.args == nil {
			f.Syscalls = append(f.Syscalls, r)
		}
		for _, tests := range g.args {
			r.Args = nil
			for _, t := range tests {
				r.Args = append(r.Args, argument{t.index, t.mask, t.value, "SCMP_CMP_MASKED_EQ"})
			}
			f.Syscalls = append(f.Syscalls, r)
			r.Comment = "" // once per group is enough
		}
	}
	text, err := json.MarshalIndent(f, "", "\t")
	return append(text, '\n'), err
}

// words splits and sorts the names of a group.
func words(s string) []string {
	names := strings.Fields(s)
	slices.Sort(names)
	return names
}
