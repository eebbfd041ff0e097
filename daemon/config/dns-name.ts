/**
 * Names as Kubernetes allows them, after RFC 1123: a label (a namespace, a container) and a subdomain (a pod, a node).
 */
const LABEL = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'

export const DNS_LABEL = new RegExp(`^${LABEL}$`)
export const DNS_LABEL_RULE =
  'lower-case letters, digits and "-", beginning and ending with a letter or digit, at most 63 characters'

export const DNS_SUBDOMAIN = new RegExp(`^(?=.{1,253}$)${LABEL}(\\.${LABEL})*$`)
export const DNS_SUBDOMAIN_RULE =
  'lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit, at most 253 characters'
