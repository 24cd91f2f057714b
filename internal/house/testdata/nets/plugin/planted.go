// Package plugin may join drivers, but Docker is spoken to in one place.
package plugin

import _ "github.com/docker/docker/client" // want depguard
