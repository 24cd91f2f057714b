// Package client stands in for Docker's client.
package client
