// Package pricing knows more than tokens and money.
package pricing

import _ "github.com/wflo-ai/wflo-go/sandbox" // want depguard

// Rate is a price.
const Rate = 1

const Undocumented = 2 // want revive
