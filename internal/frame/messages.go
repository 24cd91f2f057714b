package frame

import (
	"time"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// Version is that of the language. PID 1 says it in Hello; a worker speaks no
// other.
const Version = 1

// HelloMsg says that PID 1 is ready for a job.
type HelloMsg struct {
	Version int `json:"version"`
}

// JobMsg is a program to run. Byte slices, because arguments and variables need
// not be UTF-8. Durations are nanoseconds, sizes bytes.
type JobMsg struct {
	// Key names the job for Adopt; empty jobs cannot be adopted.
	Key  string   `json:"key,omitempty"`
	Argv [][]byte `json:"argv"`
	Env  [][]byte `json:"env"` // NAME=value, everything that the program gets
	// Stdin says that data follows; without, it reads from /dev/null.
	Stdin bool `json:"stdin,omitempty"`
	// Network makes PID 1 listen on ProxyPort for the program.
	Network bool `json:"network,omitempty"`
	// The limits that PID 1 holds itself; see sandbox.Limits.
	Timeout     time.Duration `json:"timeout"`
	CPUTime     time.Duration `json:"cpu_time"`
	Output      int64         `json:"output"`
	OutputTotal int64         `json:"output_total"`
	// Workspace is the most that /workspace may hold, in bytes, where the file
	// system does not say so itself; zero where it does.
	Workspace int64 `json:"workspace,omitempty"`
	// Artifacts are patterns of files that PID 1 sends before Exit, together at
	// most ArtifactBytes.
	Artifacts     []string `json:"artifacts,omitempty"`
	ArtifactBytes int64    `json:"artifact_bytes,omitempty"`
}

// PID1Threads is how many processes PID 1 counts as: it starts so many threads at
// once and then needs hardly another. A sandbox's limit of processes is the
// program's plus this, so the program never has more than its own, and at times
// one or two less.
const PID1Threads = 20

// ProxyPort is where programs find the proxy, on 127.0.0.1.
const ProxyPort = 3128

// KillMsg ends the running job. Reason is the outcome that Exit will carry.
type KillMsg struct {
	Reason sandbox.Outcome `json:"reason"`
}

// Where files go and come from.
const (
	Workspace = "workspace" // sandbox.Workspace
	Scratch   = "scratch"   // ScratchDir, in memory; empty again after the job
)

// ScratchDir is where a script's source lies: outside the workspace, so that it
// neither shows nor stays there.
const ScratchDir = "/run/wflo"

// FileMsg begins a file: regular, with a clean relative name. Directories above
// it are made; a link in its place or above it is replaced, never followed.
type FileMsg struct {
	Name  string `json:"name"`
	Where string `json:"where,omitempty"` // Workspace (empty) or Scratch
	Size  int64  `json:"size"`
	Mode  uint32 `json:"mode,omitempty"` // permission bits; zero means 0644
}

// GetMsg asks for a regular file of the workspace. The answer is FileBegin,
// FileData and FileEnd, or Refused with code "missing", "irregular", "large" or
// "failed"; Refused in the place of FileEnd takes back what came before. FileEnd
// after fewer bytes than FileMsg.Size: the file shrank meanwhile.
//
// Answers to Put and Get come in the order of the requests and carry the stream
// number of Get or PutEnd. Artifacts come on stream 0, so that requests with
// other numbers can be told apart from them.
type GetMsg struct {
	Name  string `json:"name"`
	Limit int64  `json:"limit"`
}

// RefusedMsg says why a request was not carried out. Put has the codes
// "invalid", "full" (no room) and "failed", everything that comes at the wrong
// time has "protocol".
type RefusedMsg struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// WindowMsg allows Bytes more on the frame's stream.
type WindowMsg struct {
	Bytes int `json:"bytes"`
}

// AdoptMsg asks for the job of Key, running or ended. PID 1 answers with Taken,
// whose payload is Nonce, so that the new owner knows where frames begin and the
// old one that it owns nothing any more; then with Adopted and,
// if it has the job, all that is kept of its output, and Exit when it ends.
type AdoptMsg struct {
	Key   string `json:"key"`
	Nonce []byte `json:"nonce"`
}

// AdoptedMsg answers Adopt. Not OK: there is no such job, or a part of it never
// arrived. StdoutMissed and StderrMissed count what is no longer kept.
type AdoptedMsg struct {
	OK           bool   `json:"ok"`
	Reason       string `json:"reason,omitempty"`
	StdoutMissed int64  `json:"stdout_missed,omitempty"`
	StderrMissed int64  `json:"stderr_missed,omitempty"`
}

// UsageMsg is what the job uses right now.
type UsageMsg struct {
	Memory  int64         `json:"memory"` // bytes
	CPUTime time.Duration `json:"cpu_time"`
	PIDs    int64         `json:"pids"`
}

// ExitMsg is how the job ended.
type ExitMsg struct {
	// Outcome is any that PID 1 can know: not Denied and Lost.
	Outcome sandbox.Outcome `json:"outcome"`
	Code    int             `json:"code"`             // 128 plus Signal for a signal
	Signal  int             `json:"signal,omitempty"` // that ended the program
	Reason  string          `json:"reason,omitempty"`
	OOM     bool            `json:"oom,omitempty"`
	Hit     []string        `json:"hit,omitempty"`
	// Duration is from the program's start to its end.
	Duration   time.Duration `json:"duration"`
	CPUTime    time.Duration `json:"cpu_time"`
	PeakMemory int64         `json:"peak_memory"`
	// Changed is empty where the workspace has too many files to tell;
	// ChangedMore is then how many it has at least.
	Changed         []sandbox.Change `json:"changed,omitempty"`
	ChangedMore     int              `json:"changed_more,omitempty"`
	ArtifactsMissed []string         `json:"artifacts_missed,omitempty"`
	// Spent says that this sandbox must not get another job: something could
	// not be put back.
	Spent bool `json:"spent,omitempty"`
}
