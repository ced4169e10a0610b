// Package chattemplate makes a prompt of a chat by the template that a model's
// repository has for it (chat_template, in Jinja); docs/chattemplates.md says which part
// of Jinja there is.
//
// It promises that a template gives what Jinja gives with the settings that the
// transformers library has for chats, or an error; and that the work, the memory and
// the prompt are bounded, whatever the template and the chat.
package chattemplate
