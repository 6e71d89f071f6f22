# Runs one case by its id: .\run_test.ps1 TC-2024-001
# Prints one JSON line. Exit status: 0 passed, 1 failed or could not be run, 2 unknown case or bad usage.
$ErrorActionPreference = 'Stop'
$here = $PSScriptRoot

function Write-Refusal([string] $why) {
    @{ id = ($args -join ''); status = 'error'; error = $why } | ConvertTo-Json -Compress
    exit 1
}

if (-not (Test-Path "$here\environment")) { Write-Refusal 'expected the file environment beside run_test.ps1; found none. Next: run the role model' }
foreach ($line in Get-Content "$here\environment") {
    if ($line -match "^(\w+)='(.*)'$") { Set-Item -Path "env:$($Matches[1])" -Value $Matches[2] }
}
# A conda environment has its Python at the top, one of venv in Scripts.
$python = @("$env:NANO_BANANA_VENV\python.exe", "$env:NANO_BANANA_VENV\Scripts\python.exe") | Where-Object { Test-Path $_ } | Select-Object -First 1
if (-not $python) { Write-Refusal 'expected the environment of the model to have a Python; found none. Next: run the roles pyenv and model' }
$cases = if ($env:NANO_BANANA_CASES) { $env:NANO_BANANA_CASES } else { "$here\cases.json" }
& $python -I "$here\run_case.py" $here $cases @args
exit $LASTEXITCODE
