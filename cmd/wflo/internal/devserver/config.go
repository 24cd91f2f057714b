package devserver

import (
	"crypto/rand"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	clusterName = "active"
	storeName   = "sqlite"
)

// sqlConfig names the database: a file, or memory when file is empty.
func sqlConfig(file string, stock bool) *config.SQL {
	conf := &config.SQL{PluginName: sqliteplugin.PluginName, MaxConns: 1}
	if file == "" {
		conf.DatabaseName = rand.Text()
		conf.ConnectAttributes = map[string]string{"mode": "memory", "cache": "shared"}
		return conf
	}
	conf.DatabaseName = file
	conf.ConnectAttributes = map[string]string{"mode": "rwc"}
	if !stock {
		// Four times the throughput of the default journal. NORMAL may lose the
		// last transactions when the machine, not the process, goes down.
		conf.ConnectAttributes["journal_mode"] = "wal"
		conf.ConnectAttributes["synchronous"] = "1"
	}
	return conf
}

// serverConfig is the static configuration of a cluster of one.
func serverConfig(cfg Config, p ports, store *config.SQL) *config.Config {
	front := hostPort(dialIP(cfg.IP), p.grpc)
	var conf config.Config
	conf.Global.Membership = config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: loopback}
	conf.Persistence = config.Persistence{
		DefaultStore: storeName, VisibilityStore: storeName, NumHistoryShards: 1,
		DataStores: map[string]config.DataStore{storeName: {SQL: store}},
	}
	conf.ClusterMetadata = &cluster.Config{
		FailoverVersionIncrement: 10,
		MasterClusterName:        clusterName,
		CurrentClusterName:       clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{clusterName: {
			Enabled:                true,
			InitialFailoverVersion: 1,
			RPCAddress:             front,
			HTTPAddress:            hostPort(dialIP(cfg.IP), p.http),
			// The UI and the server's own bookkeeping want a stable id.
			ClusterID: "wflo-dev",
		}},
	}
	conf.DCRedirectionPolicy.Policy = "noop"
	conf.Services = map[string]config.Service{
		"frontend": {RPC: config.RPC{GRPCPort: p.grpc, HTTPPort: p.http, BindOnIP: cfg.IP}},
		"history":  {RPC: config.RPC{GRPCPort: p.history, BindOnIP: loopback}},
		"matching": {RPC: config.RPC{GRPCPort: p.matching, BindOnIP: loopback}},
		"worker":   {RPC: config.RPC{GRPCPort: p.worker, BindOnIP: loopback}},
	}
	conf.Archival.History.State = "disabled"
	conf.Archival.Visibility.State = "disabled"
	conf.NamespaceDefaults.Archival.History.State = "disabled"
	conf.NamespaceDefaults.Archival.Visibility.State = "disabled"
	conf.PublicClient.HostPort = front
	return &conf
}

// staticHosts replaces cluster membership, which takes seconds to settle.
func staticHosts(p ports) map[primitives.ServiceName]static.Hosts {
	return map[primitives.ServiceName]static.Hosts{
		primitives.FrontendService: static.SingleLocalHost(hostPort(loopback, p.grpc)),
		primitives.HistoryService:  static.SingleLocalHost(hostPort(loopback, p.history)),
		primitives.MatchingService: static.SingleLocalHost(hostPort(loopback, p.matching)),
		primitives.WorkerService:   static.SingleLocalHost(hostPort(loopback, p.worker)),
	}
}

// dynamicConfig is what makes the difference between this dev server and the
// stock one. The values must have exactly the Go types that the server expects.
func dynamicConfig(stock bool) dynamicconfig.StaticClient {
	values := dynamicconfig.StaticClient{
		// What the stock dev server sets.
		dynamicconfig.HistoryCacheHostLevelMaxSize.Key():                 8096,
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 100,
	}
	if stock {
		return values
	}
	// The default of 20 polls a second and shard costs 50 ms per hop when there
	// is one shard. Visibility stays at 20: batching its writes is worth more.
	values[dynamicconfig.TransferProcessorMaxPollRPS.Key()] = 300
	values[dynamicconfig.TimerProcessorMaxPollRPS.Key()] = 300
	// With four partitions and few pollers a task waits to be forwarded.
	values[dynamicconfig.MatchingNumTaskqueueReadPartitions.Key()] = 1
	values[dynamicconfig.MatchingNumTaskqueueWritePartitions.Key()] = 1
	// The server now and then drops the wake-up of a client that waits for a
	// run to end; the client then sees it only at the next poll.
	values[dynamicconfig.HistoryLongPollExpirationInterval.Key()] = time.Second
	values[dynamicconfig.WorkflowPauseEnabled.Key()] = true
	values[dynamicconfig.MatchingEnableFairness.Key()] = true
	values[dynamicconfig.MakeKey("history.enableStandaloneActivityOperatorCommands")] = true
	return values
}

func retention(d time.Duration) *durationpb.Duration { return durationpb.New(d) }
