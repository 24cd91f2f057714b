// Package moderation lets a model judge what users write, publishes at once what it
// is sure about, and asks moderators about the rest. Who is asked, and when nobody
// needs to be, is in policies.yaml and not in the workflow:
//
//	confidence above 0.95 and verdict safe     published, with a record in the trail
//	anything else                              a moderator decides
//
// [Moderate] is the workflow, [Posts] publishes. A model that does not answer in the
// form that was asked for makes nothing safe: its answer has no confidence, which the
// policies take for a question to people. policies_test.yaml says what the policies
// lead to; `wflo policy test policies.yaml policies_test.yaml` runs it, and so does
// the package's test.
//
//	go run ./examples/moderation/worker
//	go run ./examples/moderation/starter "What a lovely day"
package moderation
