package policy // want revive

import _ "go.temporal.io/sdk/workflow" // want depguard
