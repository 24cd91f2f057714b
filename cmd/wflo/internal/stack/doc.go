// Package stack holds the tests of docker-compose.yml: that the file says what it should,
// and that an agent runs through the stack which it starts. They are behind the tag
// integration, because they need the container engine and the images that
// tools/standins/build.sh makes; make test-integration runs them.
//
// Servers of third parties are stand-ins here: the same programs from Debian's packages
// and Go modules, under testdata/standins.yml. Everything else is as a user starts it.
package stack
