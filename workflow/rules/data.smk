# Simulated downloads, lists of ids, stores, and the galaxies that two stores share.


rule simulate:
    output:
        "skies/{name}/table.parquet",
    params:
        sky=lambda wildcards: [f"{key}={value}" for key, value in PLAN.campaign.skies[wildcards.name].items()],
    log:
        "logs/simulate-{name}.log",
    shell:
        "python {SCRIPTS:q}/simulate.py skies/{wildcards.name} {params.sky:q} > {log} 2>&1"


rule lite0:
    output:
        "weights/efficientnet-lite0/config.json",
    log:
        "logs/weights-lite0.log",
    shell:
        "rm -r weights/efficientnet-lite0; "
        "python -c 'from galaxy_sommelier.studies.backbones import write_lite0 as write; "
        'write("weights/efficientnet-lite0")\' > {log} 2>&1'


rule ids:
    output:
        "lists/{name}.csv",
    input:
        lambda wildcards: PLAN.place(PLAN.campaign.lists[wildcards.name]["table"], "lists"),
    params:
        below=lambda wildcards: PLAN.campaign.lists[wildcards.name]["below"],
    log:
        "logs/ids-{name}.log",
    shell:
        "awk -F, 'NR == 1 || $1 < {params.below} {{print $1}}' {input:q} > {output} 2> {log}"


rule leaks:
    output:
        "leaks/{name}.csv",
    input:
        lambda wildcards: [f"{store}/done.json" for store in PLAN.leaks[wildcards.name]],
    params:
        stores=lambda wildcards: PLAN.leaks[wildcards.name],
    log:
        "logs/leaks-{name}.log",
    shell:
        "sommelier leaks {params.stores} --out {output} > {log} 2>&1"
