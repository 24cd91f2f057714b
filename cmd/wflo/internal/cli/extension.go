package cli

import (
	"path/filepath"
	"strings"
)

// ExtensionName is what this program is called as an extension of Temporal's command
// line: `temporal wflo list` runs it with list.
const ExtensionName = "temporal-wflo"

// FromTemporal turns the arguments that `temporal wflo ...` passes on into ours; those of
// any other program name stay as they are. The temporal command puts its own global flags
// first: those that say where Temporal is become the variables that name the same, some
// have another name here, and those about how temporal itself prints mean nothing here.
// setenv is os.Setenv.
func FromTemporal(program string, args []string, setenv func(name, value string) error) ([]string, error) {
	if strings.TrimSuffix(filepath.Base(program), ".exe") != ExtensionName {
		return args, nil
	}
	var ours []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") || arg == "--" {
			return append(ours, args[i:]...), nil // from the command on, everything is ours
		}
		name, value, inline := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		f, known := temporalFlags[name]
		if !known {
			ours = append(ours, arg) // ours, or a mistake that our parser explains
			continue
		}
		if f.truth && !inline {
			value = "true"
		} else if !inline {
			rest := args[i+1:]
			if len(rest) == 0 {
				return nil, Usage("see: temporal --help", "flag --%s needs a value", name)
			}
			i, value = i+1, rest[0]
		}
		var err error
		if ours, err = f.take(ours, name, value, setenv); err != nil {
			return nil, err
		}
	}
	return ours, nil
}

// temporalFlag is what becomes of one of temporal's global flags. None of the fields
// means that it is dropped.
type temporalFlag struct {
	truth bool   // it takes no value
	env   string // the variable with the same meaning
	ours  string // our flag with the same meaning
	// refused says why there is nothing like it here.
	refused string
}

var temporalFlags = map[string]temporalFlag{
	"address": {ours: "--address"}, "namespace": {ours: "--namespace"}, "n": {ours: "--namespace"}, "profile": {ours: "--profile"},
	"output": {ours: "--output"}, "o": {ours: "--output"}, "color": {ours: "--color"},

	"api-key": {env: "TEMPORAL_API_KEY"}, "config-file": {env: "TEMPORAL_CONFIG_FILE"}, "grpc-meta": {env: "TEMPORAL_GRPC_META_"},
	"tls": {truth: true, env: "TEMPORAL_TLS"}, "tls-server-name": {env: "TEMPORAL_TLS_SERVER_NAME"},
	"tls-cert-path": {env: "TEMPORAL_TLS_CLIENT_CERT_PATH"}, "tls-cert-data": {env: "TEMPORAL_TLS_CLIENT_CERT_DATA"},
	"tls-key-path": {env: "TEMPORAL_TLS_CLIENT_KEY_PATH"}, "tls-key-data": {env: "TEMPORAL_TLS_CLIENT_KEY_DATA"},
	"tls-ca-path": {env: "TEMPORAL_TLS_SERVER_CA_CERT_PATH"}, "tls-ca-data": {env: "TEMPORAL_TLS_SERVER_CA_CERT_DATA"},
	"tls-disable-host-verification": {truth: true, env: "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION"},

	"codec-endpoint": {refused: "payloads are read by the codec of the worker's configuration"},
	"codec-auth":     {refused: "payloads are read by the codec of the worker's configuration"},
	"codec-header":   {refused: "payloads are read by the codec of the worker's configuration"},

	"client-authority": {}, "client-connect-timeout": {}, "command-timeout": {}, "env": {}, "env-file": {}, "identity": {},
	"log-format": {}, "log-level": {}, "time-format": {},
	"disable-config-env": {truth: true}, "disable-config-file": {truth: true}, "no-json-shorthand-payloads": {truth: true},
}

func (f temporalFlag) take(ours []string, name, value string, setenv func(name, value string) error) ([]string, error) {
	switch {
	case f.refused != "":
		return nil, Usage("leave it out: "+f.refused, "wflo has no --%s", name)
	case f.ours != "":
		ours = append(ours, f.ours, value)
	case f.env == "TEMPORAL_GRPC_META_":
		key, text, ok := strings.Cut(value, "=")
		if !ok {
			return nil, Usage("such as: --grpc-meta name=value", "--grpc-meta is no NAME=VALUE")
		}
		return ours, setenv(f.env+strings.ToUpper(strings.ReplaceAll(key, "-", "_")), text)
	case f.env != "":
		return ours, setenv(f.env, value)
	}
	return ours, nil
}
