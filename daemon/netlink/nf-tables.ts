/**
 * Of nf_tables (nfnetlink) the two things that `nft` cannot do for a daemon; the rules themselves go through it
 * (daemon/host).
 *
 * The generation of the namespace's ruleset, which every commit of anybody raises by one: whether somebody changed a rule.
 *
 * A table that belongs to this socket (flag `owner`, Linux 5.12): nobody else can change or flush it, and it goes with
 * the socket. It has one chain of type nat, with one rule that looks at a packet's connection and does nothing. That
 * keeps the kernel's NAT and connection tracking at work where nobody else uses them, so that connections which are
 * translated already stay so while polder's table is put back. Without it the host would take their packets for its own,
 * and reset them.
 *
 *   nfgenmsg   family u8 | version u8 | resource id u16, big-endian         numbers in attributes are big-endian too
 *
 * linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
 */
import { NETLINK_NETFILTER } from '../nic/nic.ts'
import {
  attribute,
  concat,
  decodeBody,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  nest,
  text,
  viewOf,
} from './message.ts'
import { malformed } from './netlink-error.ts'
import { NetlinkSocket, type Request } from './socket.ts'

const NFNL_SUBSYS_NFTABLES = 10
const NFNL_MSG_BATCH_BEGIN = 16
const NFNL_MSG_BATCH_END = 17
const NFT_MSG_NEWTABLE = NFNL_SUBSYS_NFTABLES << 8
const NFT_MSG_NEWCHAIN = (NFNL_SUBSYS_NFTABLES << 8) | 3
const NFT_MSG_NEWRULE = (NFNL_SUBSYS_NFTABLES << 8) | 6
const NFT_MSG_GETGEN = (NFNL_SUBSYS_NFTABLES << 8) | 16

const NFPROTO_UNSPEC = 0
const NFPROTO_INET = 1
const NF_INET_POST_ROUTING = 4
const NF_IP_PRI_NAT_SRC = 100

const HEADER_LEN = 4
const NFTA_GEN_ID = 1
const NFTA_TABLE_NAME = 1
const NFTA_TABLE_FLAGS = 2
const NFT_TABLE_F_OWNER = 2
const NFTA_CHAIN_TABLE = 1
const NFTA_CHAIN_NAME = 3
const NFTA_CHAIN_HOOK = 4
const NFTA_CHAIN_TYPE = 7
const NFTA_HOOK_HOOKNUM = 1
const NFTA_HOOK_PRIORITY = 2
const NFTA_RULE_TABLE = 1
const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
const NFTA_LIST_ELEM = 1
const NFTA_EXPR_NAME = 1
const NFTA_EXPR_DATA = 2
const NFTA_CT_DREG = 1
const NFTA_CT_KEY = 2
const NFT_CT_DIRECTION = 1
const NFTA_CMP_SREG = 1
const NFTA_CMP_OP = 2
const NFT_CMP_EQ = 0
const NFTA_CMP_DATA = 3
const NFTA_DATA_VALUE = 1
const NFT_REG_1 = 1
const IP_CT_DIR_ORIGINAL = 0

const CHAIN = 'postrouting'

export function decodeGeneration(body: Uint8Array): number {
  const id = decodeBody(body, HEADER_LEN).attributes.get(NFTA_GEN_ID)
  if (id?.length !== 4) throw malformed('an nf_tables generation without its number')
  return viewOf(id).getUint32(0)
}

export class NfTables {
  readonly #socket: NetlinkSocket

  /** `netnsFd`: an open file of the namespace, -1 for the caller's own. */
  constructor(netnsFd = -1) {
    this.#socket = new NetlinkSocket(netnsFd, NETLINK_NETFILTER)
  }

  /** Of the whole ruleset of the namespace; 32 bits, and wraps. */
  generation(): number {
    const [answer] = this.#socket.request('read the generation of nftables', NFT_MSG_GETGEN, 0, header(NFPROTO_UNSPEC))
    if (answer === undefined) throw malformed('no answer to the question for the nftables generation')
    return decodeGeneration(answer.body)
  }

  /** Makes the table `inet NAME` that keeps NAT at work; until close(). Kernels before 5.12 refuse. */
  holdNat(name: string): void {
    const flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK
    const table = [text(NFTA_TABLE_NAME, name), be32(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER)]
    const chain = [
      text(NFTA_CHAIN_TABLE, name),
      text(NFTA_CHAIN_NAME, CHAIN),
      nest(NFTA_CHAIN_HOOK, be32(NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING), be32(NFTA_HOOK_PRIORITY, NF_IP_PRI_NAT_SRC)),
      text(NFTA_CHAIN_TYPE, 'nat'),
    ]
    // `ct direction original`, and nothing that would follow from it.
    const direction = expression('ct', be32(NFTA_CT_DREG, NFT_REG_1), be32(NFTA_CT_KEY, NFT_CT_DIRECTION))
    const original = nest(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, Uint8Array.of(IP_CT_DIR_ORIGINAL)))
    const compare = expression('cmp', be32(NFTA_CMP_SREG, NFT_REG_1), be32(NFTA_CMP_OP, NFT_CMP_EQ), original)
    const rule = [
      text(NFTA_RULE_TABLE, name),
      text(NFTA_RULE_CHAIN, CHAIN),
      nest(NFTA_RULE_EXPRESSIONS, direction, compare),
    ]
    this.#socket.batch(`make the nftables table inet ${name}`, [
      edge(NFNL_MSG_BATCH_BEGIN),
      { type: NFT_MSG_NEWTABLE, flags, body: concat([header(NFPROTO_INET), ...table]) },
      { type: NFT_MSG_NEWCHAIN, flags, body: concat([header(NFPROTO_INET), ...chain]) },
      { type: NFT_MSG_NEWRULE, flags, body: concat([header(NFPROTO_INET), ...rule]) },
      edge(NFNL_MSG_BATCH_END),
    ])
  }

  close(): void {
    this.#socket.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Begin or end of a transaction. */
function edge(type: number): Request {
  const body = header(NFPROTO_UNSPEC)
  viewOf(body).setUint16(2, NFNL_SUBSYS_NFTABLES)
  return { type, flags: NLM_F_REQUEST, body }
}

function expression(name: string, ...data: Uint8Array[]): Uint8Array {
  return nest(NFTA_LIST_ELEM, text(NFTA_EXPR_NAME, name), nest(NFTA_EXPR_DATA, ...data))
}

function header(family: number): Uint8Array {
  return Uint8Array.of(family, 0, 0, 0)
}

function be32(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  viewOf(bytes).setUint32(0, value)
  return attribute(type, bytes)
}
