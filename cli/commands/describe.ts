/** `polder describe`: all there is to know about one object, in lines; of a node also the counters of its data path. */
import { Command } from 'commander'
import type { Counters } from '../../daemon/api/types.ts'
import { type Node, nodeOf, type Pod } from '../../daemon/cluster/objects.ts'
import type { Service } from '../../daemon/cluster/service-objects.ts'
import { nodeStatus, type Row } from '../columns.ts'
import { examples, namespaceOption } from '../command.ts'
import { type Daemons, findDaemons } from '../daemons.ts'
import { attachmentFields, conditionField, pairs, podFields } from '../describe-pod.ts'
import { serviceFields, sliceFields } from '../describe-service.ts'
import { type Field, formatFields } from '../fields.ts'
import { parseTargets } from '../kinds.ts'
import { getRow, listRows } from '../rows.ts'

export function describeCommand(): Command {
  const command = new Command('describe')
    .description('show all there is to know about objects')
    .argument('<kind>', 'pod, node, namespace, service, endpointslice, attachment; or KIND/NAME')
    .argument('[name...]', 'which; without a name, all of the kind')
  examples(namespaceOption(command), [
    ['polder describe pod testpod', 'why is it not running?'],
    ['polder describe node node1', 'its addresses, and what its data path counted'],
  ])
  return command.action(async (kind: string, names: string[], options: { namespace: string }, self: Command) => {
    const targets = parseTargets([kind, ...names])
    const daemons = await findDaemons(self)
    const texts: string[] = []
    for (const { word, name } of targets) {
      const rows =
        name === undefined
          ? await listRows(daemons, word, options.namespace)
          : [await getRow(daemons, word, name, options.namespace)]
      for (const row of rows) texts.push(formatFields(await fieldsOf(row, daemons)))
    }
    if (texts.length === 0) process.stderr.write('No resources found.\n')
    process.stdout.write(texts.join('\n\n'))
  })
}

async function fieldsOf(row: Row, daemons: Daemons): Promise<Field[]> {
  switch (row.kind) {
    case 'Pod':
      return podFields(row, await attachmentOf(row, daemons))
    case 'Node':
      return nodeFields(row, daemons)
    case 'Namespace':
      return [
        ['Name', row.metadata.name],
        ['Labels', pairs(row.metadata.labels, '=')],
        ['Status', row.status?.phase ?? 'Active'],
        ['Pods', String((await daemons.first.client.list('Pod', row.metadata.name)).length)],
      ]
    case 'Service':
      return describeService(row, daemons)
    case 'EndpointSlice':
      return sliceFields(row)
    case 'Attachment':
      return [
        ...attachmentFields(row),
        ['Pod', row.pod === undefined ? '<none>' : `${row.pod.namespace}/${row.pod.name}`],
        ['Node', row.node],
      ]
    case 'Problem':
      return [
        ['Place', row.place],
        ['Message', row.message],
      ]
  }
}

async function describeService(service: Service, { first: { client } }: Daemons): Promise<Field[]> {
  const { namespace } = service.metadata
  return serviceFields(service, await client.list('EndpointSlice', namespace), await client.list('Pod', namespace))
}

async function attachmentOf(pod: Pod, daemons: Daemons) {
  const daemon = daemons.all.find(({ info }) => info.name === nodeOf(pod))
  const { name, namespace } = pod.metadata
  return (await daemon?.client.attachments())?.find(
    (each) => each.pod?.name === name && each.pod.namespace === namespace,
  )
}

async function nodeFields(node: Node, daemons: Daemons): Promise<Field[]> {
  const { metadata, spec, status } = node
  const daemon = daemons.all.find(({ info }) => info.name === metadata.name)
  const pods = (await daemons.first.client.list('Pod')).filter((pod) => nodeOf(pod) === metadata.name)
  const info = status?.nodeInfo
  return [
    ['Name', metadata.name],
    ['Labels', pairs(metadata.labels, '=')],
    ['Annotations', pairs(metadata.annotations, ': ')],
    ['Status', nodeStatus(node)],
    ['Addresses', status?.addresses.map((each) => `${each.type} ${each.address}`)],
    ['Pod CIDRs', spec.podCIDRs],
    ['Gateways', daemon?.info.gateways],
    ['Underlay', status?.network.underlayAddress],
    ['VTEP MAC', status?.network.vtepMac],
    ['MTU', status?.network.mtuBytes.toString()],
    ['Encapsulation', status?.network.encapsulation],
    ['Polder', info?.polderVersion],
    ['Kernel', info?.kernelVersion],
    ['OS Image', info?.osImage],
    ['Runtime', info?.containerRuntimeVersion],
    ['Pods', pods.map((pod) => `${pod.metadata.namespace}/${pod.metadata.name}`)],
    ['Conditions', status?.conditions.map(conditionField)],
    ...(daemon === undefined ? [] : counterFields(await daemon.client.counters())),
  ]
}

function counterFields({ entrances, drops, answers, flows, queues }: Counters): Field[] {
  return [
    ['Packets In', entrances.map((each): Field => [each.name, `${each.packets} packets, ${each.bytes} bytes`])],
    ['Answered by ICMP', String(answers)],
    ['Flows', flowField(flows)],
    ['Queues Full', queues.map((each): Field => [each.name, `${each.full} packets lost`])],
    ['Packets Dropped', drops.map((each): Field => [each.reason, `${each.packets} (${each.text})`])],
  ]
}

function flowField({ flows, capacity, opened, evicted, refused }: Counters['flows']): string {
  return `${flows} of ${capacity}; ${opened} opened, ${evicted} forgotten early to make room, ${refused} refused`
}
